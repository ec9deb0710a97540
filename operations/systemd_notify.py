"""Notify systemd that a service is ready, alive or stopping. Does nothing without systemd.

The protocol is sd_notify(3): datagrams of NAME=value to a socket. WATCHDOG_USEC is the timeout of the watchdog.
"""

import os
import socket
import time
from contextlib import suppress

PINGS = 4  # in one timeout of the watchdog


class Systemd:
    """Configured by the environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`. Never raises, so that no work is stopped."""

    def __init__(self) -> None:
        place = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + place[1:] if place.startswith("@") else place
        watchdog_us = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(watchdog_us) / 1e6 / PINGS if watchdog_us.isdecimal() and mine else None
        self._last = -float("inf")
        self._last_status = ""

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self) -> None:
        """Ping the watchdog if a ping is due. Call it often, from the code that does the work."""
        if self._every_s is not None and time.monotonic() - self._last >= self._every_s:
            self._last = time.monotonic()
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        if text != self._last_status:
            self._last_status = text
            self._send("STATUS=" + " ".join(text.split()))

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, line: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)  # must not block the run if systemd does not read
            channel.sendto(line.encode(errors="replace"), self._address)
