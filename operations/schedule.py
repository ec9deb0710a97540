"""The nightly start, as a line for cron and as units for systemd: texts alone. planting.py puts them in place."""

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

PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
PROGRAMS = ("nvidia-smi", "cc")  # asked for the card's load; compiles the GPU engine's kernels
STOP_S = 900  # after a stop: pages in flight finish, the account is written


@dataclass(frozen=True, slots=True)
class ScheduledTask:
    """What is to be started, and when. All paths are absolute. `start_s`: how long the engine may take to be ready.

    `at` None means: always, as a watch. `writes` are folders that it writes to, the root first.
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
            found.append(Fault("--name", None, "", f"{self.name!r}: small letters, digits, - and _ only"))
        paths = (*self.command, str(self.folder), *map(str, self.writes))
        if any(sanitize(path) != path for path in paths):
            why = "a path with a control character, or bytes that are no UTF-8, cannot stand in a crontab or a unit"
            found.append(Fault("--root", None, "", why))
        return found


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, "%H:%M")
    except ValueError:
        return False
    return True


def checked(plan: ScheduledTask) -> ScheduledTask:
    """The plan. Raises ConfigError with everything that is wrong with it."""
    if faults := plan.faults():
        raise ConfigError(faults)
    return plan


def search_path(python: Path) -> str:
    """PATH for a start without a login: the environment's own programs, the system's, and those that a run may call."""
    found = (os.path.dirname(place) for name in PROGRAMS if (place := shutil.which(name)))
    return ":".join(dict.fromkeys((str(python.parent), *PLACES, *found)))


def _environment(plan: ScheduledTask) -> dict[str, str]:
    zone = {"TZ": plan.zone} if plan.zone else {}
    return {"PATH": search_path(Path(plan.command[0])), "PYTHONUNBUFFERED": "1", **zone}


def cron_line(plan: ScheduledTask) -> str:
    """One line; its log is for this user alone, and dated, for not every end of a run leaves an account.

    In a crontab a % would begin the standard input, so each is escaped.
    """
    when = "@reboot"
    if plan.at is not None:
        hour, minute = plan.at.split(":")
        when = f"{int(minute)} {int(hour)} * * *"
    told = " ".join(f"{name}={shlex.quote(value)}" for name, value in _environment(plan).items())
    command = shlex.join(plan.command)
    log = shlex.quote(str(plan.root / "cron.log"))
    line = f"umask 077; cd {shlex.quote(str(plan.folder))} && {{ date; {told} {command}; }} >> {log} 2>&1"
    return f"{when}  " + line.replace("%", "\\%")


def units(plan: ScheduledTask) -> dict[str, str]:
    """The text of each unit by its file name: a service that the timer starts, or one that always runs."""
    watching = plan.at is None
    # No sign of life while a dead engine is started again, three times: the supervisor has its own, shorter clock.
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
        "# The first signal goes to the run alone: its helpers must finish what they have in hand.",
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_S}",
        "# 130: it was stopped. 1 says that some documents failed, and `systemctl --failed` should show it.",
        "SuccessExitStatus=130",
        "# It writes the root and its caches, and needs no network. PrivateUsers lets a user's own service manager do",
        "# the rest; where the kernel allows no user namespaces, take out the lines from here on.",
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
        "# A night in which the machine was off is not made up for in the morning, when `--until` has gone by.",
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
    """One word of a unit's setting, whatever it holds."""
    return '"' + _specifiers(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _command(words: Iterable[str]) -> str:
    return " ".join(_quoted(word).replace("$", "$$") for word in words)
