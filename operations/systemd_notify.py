"""Tells systemd that a service is ready, alive and stopping: datagrams to the socket that it names. Else does nothing.

The protocol is sd_notify(3): lines of NAME=value. WATCHDOG_USEC says how long systemd waits for a sign of life.
"""

import os
import socket
import time
from contextlib import suppress

SIGNS = 4  # of life, in the time that systemd waits for one


class Systemd:
    """What `NOTIFY_SOCKET` and `WATCHDOG_USEC` of the environment ask for. Never raises: telling must stop no work."""

    def __init__(self) -> None:
        place = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + place[1:] if place.startswith("@") else place
        watchdog_us = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(watchdog_us) / 1e6 / SIGNS if watchdog_us.isdecimal() and mine else None
        self._last = -float("inf")
        self._said = ""

    def ready(self) -> None:
        self._tell("READY=1")

    def alive(self) -> None:
        """Call it as often as you like, from where the work itself goes on: a sign of life is sent when one is due."""
        if self._every_s is not None and time.monotonic() - self._last >= self._every_s:
            self._last = time.monotonic()
            self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        if text != self._said:
            self._said = text
            self._tell("STATUS=" + " ".join(text.split()))

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def _tell(self, line: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)  # a systemd that does not listen must not hold up the night
            channel.sendto(line.encode(errors="replace"), self._address)
