"""Python objects over a socket pair, arrays included, with neither side waiting for the other to read.

Small messages travel inside the socket; larger ones as an anonymous memory file whose descriptor travels instead, so
nothing is left behind by a kill -9. A numpy array of 3 MB costs about 1.1 ms of CPU for both sides together, one of
12 MB about 4.5 ms (a pipe: 0.8 and 4.7 ms, but its writer stands still until the other side reads).
"""

import mmap
import os
import pickle
import socket
import struct
import sys
import tempfile
from enum import IntEnum, auto, unique
from typing import Any, NamedTuple

INLINE_BYTES = 16 * 1024  # a few of these fit a socket's default buffer (208 KiB on Linux), so sending never waits
ALIGNED = 64  # where arrays begin, as numpy itself would have it
_HEADER = struct.Struct("<BQQ")  # kind, number, bytes that follow


@unique
class MessageKind(IntEnum):
    """What a message says. A worker and an engine's process are started in the same way; the rest is their own."""

    SETUP = auto()  # to either: what to start with
    READY = auto()  # from either
    NO_START = auto()  # from either: the exception that kept it from starting

    TASK = auto()  # to a worker: function and arguments
    VALUE = auto()  # from a worker: what the function returned
    RAISED = auto()  # from a worker: what it raised
    NO_MEMORY = auto()  # from a worker: it reached its limit of memory

    UNSUPPORTED = auto()  # to an engine: a job; from it: why it cannot answer the job, or None
    BEGIN = auto()  # to an engine: a stream of requests begins
    ASK = auto()  # to an engine: one request
    END = auto()  # to an engine: no more requests in this stream
    TAKEN = auto()  # from an engine: it works on this request from now on
    PARTIAL = auto()  # from an engine: how the answer begins
    REPLY = auto()  # from an engine: the whole answer
    DONE = auto()  # from an engine: every request of the stream is answered
    ALIVE = auto()  # from an engine: it goes on working
    LOG = auto()  # from an engine: a line for the log; the number is its level
    BROKEN = auto()  # from an engine: the process must be replaced
    UNFIT = auto()  # from an engine: a ModelError; starting it again would not help


class Message(NamedTuple):
    """`number` is the sender's own."""

    kind: MessageKind
    number: int
    body: memoryview

    def load(self) -> Any:
        """The value that was sent. Arrays are views of the message: they stay valid, and may be written to."""
        (count,) = struct.unpack_from("<Q", self.body)
        lengths = struct.unpack_from(f"<{count}Q", self.body, 8)
        place, parts = _aligned(8 + 8 * count), []
        for length in lengths:
            parts.append(self.body[place : place + length])
            place = _aligned(place + length)
        return pickle.loads(parts[0], buffers=parts[1:])


def send(channel: socket.socket, kind: MessageKind, number: int, value: Any) -> None:
    """Raises OSError when the other side is gone, and what pickle raises, before a byte is sent."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    chunks = [memoryview(struct.pack(f"<{1 + len(parts)}Q", len(parts), *map(len, parts)))]
    size = len(chunks[0])
    for part in parts:
        gap = _aligned(size) - size
        chunks += [memoryview(bytes(gap)), part]
        size += gap + len(part)
    header = _HEADER.pack(kind, number, size)
    if size <= INLINE_BYTES:
        channel.sendall(b"".join([header, *chunks]))
        return
    descriptor = _memory_file()
    try:
        for chunk in chunks:
            while chunk:
                chunk = chunk[os.write(descriptor, chunk) :]
        socket.send_fds(channel, [header], [descriptor])
    finally:
        os.close(descriptor)


def receive(channel: socket.socket) -> Message | None:
    """The next message, or None when the other side is gone (raises OSError where it went in the middle)."""
    header, descriptors = b"", []
    while len(header) < _HEADER.size:
        some, found, _, _ = socket.recv_fds(channel, _HEADER.size - len(header), 1)
        descriptors += found
        if not some:
            return None
        header += some
    code, number, size = _HEADER.unpack(header)
    kind = MessageKind(code)
    if descriptors:
        try:
            return Message(kind, number, memoryview(mmap.mmap(descriptors[0], size)))
        finally:
            os.close(descriptors[0])
    body = bytearray(size)
    rest = memoryview(body)
    while rest:
        count = channel.recv_into(rest)
        if not count:
            return None
        rest = rest[count:]
    return Message(kind, number, memoryview(body))


def _aligned(place: int) -> int:
    return -(-place // ALIGNED) * ALIGNED


def _memory_file() -> int:
    """A descriptor of a file that has no name and, on Linux, no disk below it."""
    if sys.platform == "linux":
        return os.memfd_create("scanmill")
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    return descriptor
