"""A Python in which internet sockets are refused, for it and all its children: a sitecustomize with an audit hook.

Every attempt is noted, also one that a library would swallow; so is every process that the hook holds for.
"""

import os
from pathlib import Path

_HOOK = """
import os, socket, sys

PLACE = {place!r}
NETWORK = (socket.AF_INET, socket.AF_INET6)


def note(name, text):
    with open(os.path.join(PLACE, name), "a") as file:
        file.write(text + "\\n")


def refuse(event, args):
    asks = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
    if asks or (event == "socket.__new__" and args[1] in NETWORK):
        note("called", event + " " + repr(args[1:]))
        raise PermissionError("no network here: " + event)


note("held", " ".join(sys.argv[:1]))
sys.addaudithook(refuse)
"""


def environment(place: Path) -> dict[str, str]:
    """What to start a Python with; `place` is an empty folder for the hook and its notes."""
    (place / "sitecustomize.py").write_text(_HOOK.format(place=str(place)))
    return os.environ | {"PYTHONPATH": str(place)}


def called(place: Path) -> list[str]:
    """Every attempt to reach the network."""
    return _lines(place / "called")


def held(place: Path) -> int:
    """How many processes the hook held for."""
    return len(_lines(place / "held"))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
