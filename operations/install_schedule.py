"""Install and remove the schedule for the current user: with systemd if the user has it, else with cron.

An earlier schedule with the same name is removed first, so that nothing is started twice.
"""

import getpass
import os
import re
import shutil
import subprocess
from pathlib import Path

from operations.schedule import ScheduledTask, cron_line, units
from pipeline.core.errors import ScanmillError


class ScheduleInstallError(ScanmillError):
    """The schedule cannot be installed or removed."""


def install(plan: ScheduledTask) -> list[str]:
    """Installs the schedule; returns what was done, in sentences. Raises ScheduleInstallError."""
    remove(plan.name)
    if systemd_serves():
        folder = _unit_folder()
        folder.mkdir(parents=True, exist_ok=True)
        texts = units(plan)
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
        _systemctl("daemon-reload")
        starter = f"{plan.name}.timer" if plan.at else f"{plan.name}.service"
        _systemctl("enable", "--now", starter)
        done = [f"{folder / name} was installed" for name in texts]
        return [*done, f"show it with: systemctl --user status {starter}", _linger()]
    if not shutil.which("crontab"):
        raise ScheduleInstallError(
            "Neither a systemd user instance nor crontab is available. Use another scheduler: "
            "the crontab line, printed without --install, has the command."
        )
    lines = [*_without(_crontab(), plan.name), _begin(plan.name), cron_line(plan), _end(plan.name)]
    _write_crontab(lines)
    return [f"the crontab of {getpass.getuser()} has the line; show it with: crontab -l"]


def remove(name: str) -> list[str]:
    """Removes the schedule; returns what was removed, in sentences. Raises ScheduleInstallError."""
    done = []
    there = [path for end in ("timer", "service") if (path := _unit_folder() / f"{name}.{end}").exists()]
    for path in there:
        if systemd_serves():
            _systemctl("disable", "--now", path.name)
        path.unlink()
        done.append(f"{path} was removed")
    if there and systemd_serves():
        _systemctl("daemon-reload")
    if shutil.which("crontab"):
        before = _crontab()
        if (after := _without(before, name)) != before:
            _write_crontab(after)
            done.append("the crontab line was removed")
    return done


def systemd_serves() -> bool:
    """Whether a systemd user instance is running."""
    if not shutil.which("systemctl"):
        return False
    return subprocess.run(["systemctl", "--user", "show-environment"], capture_output=True, check=False).returncode == 0


def _unit_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", "--user", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScheduleInstallError(f"systemctl --user {' '.join(words)}: {done.stderr.strip() or done.returncode}")


def _linger() -> str:
    """Enable lingering, so that timers run while the user is not logged in; returns the result as a sentence."""
    user = getpass.getuser()
    try:
        done = subprocess.run(["loginctl", "enable-linger", user], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        done = None
    if done is not None and not done.returncode:
        return f"it also starts while the user is not logged in (loginctl enable-linger {user})"
    return f"it starts only while {user} is logged in; to change that: sudo loginctl enable-linger {user}"


def _begin(name: str) -> str:
    return f"# >>> scanmill {name}: made by run_batch.py schedule, which replaces all up to the end mark"


def _end(name: str) -> str:
    return f"# <<< scanmill {name}"


def _crontab() -> list[str]:
    done = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    if done.returncode and "no crontab" not in done.stderr:
        raise ScheduleInstallError(f"crontab -l: {done.stderr.strip() or done.returncode}")
    return [] if done.returncode else done.stdout.splitlines()


def _without(lines: list[str], name: str) -> list[str]:
    """The crontab without the marked block. A begin mark without an end mark is kept, with the lines after it."""
    text = "\n".join(lines)
    block = rf"(?ms)^# >>> scanmill {re.escape(name)}:(?:(?!^# >>> ).)*?^# <<< scanmill {re.escape(name)}$\n?"
    kept = re.sub(block, "", text + "\n").removesuffix("\n")
    return kept.split("\n") if kept else []


def _write_crontab(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(["crontab", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScheduleInstallError(f"crontab: {done.stderr.strip() or done.returncode}")
