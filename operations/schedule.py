"""Build the crontab line and the systemd units of a schedule. install_schedule.py installs them."""

import os
import re
import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.core.errors import ConfigError, Fault
from pipeline.core.safe_text import sanitize

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
PROGRAMS = ("nvidia-smi", "cc")  # reports the GPU load; compiles the kernels of the GPU engine
STOP_S = 900  # after a stop: time to finish pages in flight and write the run report


@dataclass(frozen=True, slots=True)
class ScheduledTask:
    """The command to start, and when. All paths are absolute. `start_s`: how long the engine may take to load.

    `at` None means a watch that always runs. `writes` are the folders that it writes to, the root first.
    """

    name: str
    at: str | None
    until: str | None
    command: tuple[str, ...]
    folder: Path
    writes: tuple[Path, ...]
    start_s: float
    zone: str = ""

    @property
    def root(self) -> Path:
        return self.writes[0]

    def faults(self) -> list[Fault]:
        found = []
        for option, value in (("--at", self.at), ("--until", self.until)):
            if value is not None and not _is_time(value):
                found.append(Fault(option, None, "", f"{value} is not a time of day; write 02:00"))
        if self.at is None and self.until is not None:
            found.append(Fault("--until", None, "", "a watch always runs; leave out --until, or --watch"))
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,60}", self.name):
            found.append(Fault("--name", None, "", f"{self.name!r}: lower-case letters, digits, - and _ only"))
        paths = (*self.command, str(self.folder), *map(str, self.writes))
        if any(sanitize(path) != path for path in paths):
            why = "a path with a control character, or bytes that are not UTF-8, cannot be used in a crontab or a unit"
            found.append(Fault("--root", None, "", why))
        return found


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, "%H:%M")
    except ValueError:
        return False
    return True


def checked(plan: ScheduledTask) -> ScheduledTask:
    """The plan. Raises ConfigError with all its faults."""
    if faults := plan.faults():
        raise ConfigError(faults)
    return plan


def search_path(python: Path) -> str:
    """PATH for a start without a login: the virtual environment, the system, and programs that a run may call."""
    found = (os.path.dirname(place) for name in PROGRAMS if (place := shutil.which(name)))
    return ":".join(dict.fromkeys((str(python.parent), *SYSTEM_PATH, *found)))


def _environment(plan: ScheduledTask) -> dict[str, str]:
    zone = {"TZ": plan.zone} if plan.zone else {}
    return {"PATH": search_path(Path(plan.command[0])), "PYTHONUNBUFFERED": "1", **zone}


def cron_line(plan: ScheduledTask) -> str:
    """The crontab line. Output goes to a private log with dates, since a run that fails early writes no report.

    % is escaped: in a crontab it starts the standard input.
    """
    when = "@reboot"
    if plan.at is not None:
        hour, minute = plan.at.split(":")
        when = f"{int(minute)} {int(hour)} * * *"
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in _environment(plan).items())
    command = shlex.join(plan.command)
    log = shlex.quote(str(plan.root / "cron.log"))
    line = f"umask 077; cd {shlex.quote(str(plan.folder))} && {{ date; {variables} {command}; }} >> {log} 2>&1"
    return f"{when}  " + line.replace("%", "\\%")


def units(plan: ScheduledTask) -> dict[str, str]:
    """The text of each unit by file name: a service with its timer, or a service that always runs."""
    watching = plan.at is None
    # No watchdog ping while a dead engine is restarted up to three times; the supervisor has a shorter limit.
    silence_s = int(3 * plan.start_s) + 600
    kind = ["Type=oneshot", "TimeoutStartSec=infinity"]
    if watching:
        limits = [f"WatchdogSec={silence_s}", f"TimeoutStartSec={silence_s}"]
        kind = ["Type=notify", *limits, "Restart=on-failure", "RestartSec=60", "RestartPreventExitStatus=2"]
    caches = {"XDG_CACHE_HOME": "%C/scanmill", "TRITON_CACHE_DIR": "%C/scanmill/triton",
              "CUDA_CACHE_PATH": "%C/scanmill/cuda"}  # fmt: skip
    service = [
        "[Unit]",
        f"Description=Scanmill {'watches' if watching else 'drains'} {_specifiers(str(plan.root / 'inbox'))}",
        "",
        "[Service]",
        *kind,
        f"WorkingDirectory={_specifiers(str(plan.folder))}",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in _environment(plan).items()),
        *(f'Environment="{name}={value}"' for name, value in caches.items()),
        f"ExecStart={_command(plan.command)}",
        "# The first signal goes only to the run: its worker processes must finish their tasks.",
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_S}",
        "# 130: it was stopped. 1: some documents failed, which `systemctl --failed` should show.",
        "SuccessExitStatus=130",
        "# It writes to the root and its caches, and needs no network. PrivateUsers allows a systemd user instance to",
        "# apply the rest. If the kernel has no user namespaces, remove the lines from here on.",
        "CacheDirectory=scanmill",
        f"ReadWritePaths={' '.join(_quoted(str(place)) for place in plan.writes)}",
        *(
            f"{name}=yes"
            for name in ("NoNewPrivileges", "PrivateUsers", "PrivateNetwork", "PrivateTmp", "ProtectKernelTunables",
                         "ProtectKernelModules", "ProtectControlGroups", "LockPersonality", "RestrictSUIDSGID")
        ),
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "RestrictAddressFamilies=AF_UNIX",
        "UMask=0077",
    ]  # fmt: skip
    if watching:
        return {f"{plan.name}.service": _text([*service, "", "[Install]", "WantedBy=default.target"])}
    timer = [
        "[Unit]",
        f"Description=Scanmill at {plan.at}",
        "",
        "[Timer]",
        f"OnCalendar=*-*-* {plan.at}:00" + (f" {plan.zone}" if re.fullmatch(r"\w+(/[\w+-]+)*", plan.zone) else ""),
        "AccuracySec=1min",
        "# A run missed while the machine was off is not started later, when `--until` has passed.",
        "Persistent=false",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return {f"{plan.name}.service": _text(service), f"{plan.name}.timer": _text(timer)}


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """A quoted word for a unit file."""
    return '"' + _specifiers(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _command(words: Iterable[str]) -> str:
    return " ".join(_quoted(word).replace("$", "$$") for word in words)
