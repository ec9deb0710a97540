"""Puts the nightly start in place for the user, and takes it away again: systemd where it serves the user, else cron.

Whatever was put there before under the same name goes first, so that nothing ever starts twice.
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
    """Neither systemd nor cron could be told."""


def install(plan: ScheduledTask) -> list[str]:
    """What was done, in sentences. Raises PlantingError."""
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
        done = [f"{folder / name} is in place" for name in texts]
        return [*done, f"look at it: systemctl --user status {starter}", _linger()]
    if not shutil.which("crontab"):
        raise ScheduleInstallError(
            "Neither systemd for this user nor crontab is here. Start it by other means: "
            "the line for cron, printed without --install, is the command."
        )
    lines = [*_without(_crontab(), plan.name), _begin(plan.name), cron_line(plan), _end(plan.name)]
    _write_crontab(lines)
    return [f"the crontab of {getpass.getuser()} has the line; look at it: crontab -l"]


def remove(name: str) -> list[str]:
    """What was taken away, in sentences. Raises PlantingError."""
    done = []
    there = [path for end in ("timer", "service") if (path := _unit_folder() / f"{name}.{end}").exists()]
    for path in there:
        if systemd_serves():
            _systemctl("disable", "--now", path.name)
        path.unlink()
        done.append(f"{path} is gone")
    if there and systemd_serves():
        _systemctl("daemon-reload")
    if shutil.which("crontab"):
        before = _crontab()
        if (after := _without(before, name)) != before:
            _write_crontab(after)
            done.append("the line in the crontab is gone")
    return done


def systemd_serves() -> bool:
    """Whether a service manager of this user's own is running."""
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
    """Without it a user's timers sleep while the user is not logged in."""
    user = getpass.getuser()
    try:
        done = subprocess.run(["loginctl", "enable-linger", user], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        done = None
    if done is not None and not done.returncode:
        return f"it starts while nobody is logged in, too (loginctl enable-linger {user})"
    return f"it starts only while {user} is logged in; for the nights: sudo loginctl enable-linger {user}"


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
    """The crontab without the marked block. A begin mark without its end is left: somebody's lines may follow it."""
    text = "\n".join(lines)
    block = rf"(?ms)^# >>> scanmill {re.escape(name)}:(?:(?!^# >>> ).)*?^# <<< scanmill {re.escape(name)}$\n?"
    kept = re.sub(block, "", text + "\n").removesuffix("\n")
    return kept.split("\n") if kept else []


def _write_crontab(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(["crontab", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScheduleInstallError(f"crontab: {done.stderr.strip() or done.returncode}")
