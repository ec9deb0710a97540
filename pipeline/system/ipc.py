"""Send Python objects, arrays included, over a socket pair without waiting for the reader.

Small messages are sent through the socket; for larger ones the descriptor of an anonymous memory file is sent, so that
a kill -9 leaves nothing behind. A numpy array of 3 MB costs about 1.1 ms of CPU for both sides together, one of
12 MB about 4.5 ms (a pipe: 0.8 and 4.7 ms, but its writer blocks until the other side reads).
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
ALIGNED = 64  # alignment of arrays, as numpy has it
_HEADER = struct.Struct("<BQQ")  # kind, number, bytes that follow


@unique
class MessageKind(IntEnum):
    """The kinds of messages. Starting is common to workers and engine processes."""

    SETUP = auto()  # to both: what to start with
    READY = auto()  # from both
    NO_START = auto()  # from both: the exception that prevented the start

    TASK = auto()  # to a worker: function and arguments
    VALUE = auto()  # from a worker: what the function returned
    RAISED = auto()  # from a worker: the exception of the function
    NO_MEMORY = auto()  # from a worker: the memory limit was reached

    UNSUPPORTED = auto()  # to an engine: a job; from it: why it cannot answer the job, or None
    BEGIN = auto()  # to an engine: a stream of requests begins
    ASK = auto()  # to an engine: one request
    END = auto()  # to an engine: no more requests in this stream
    TAKEN = auto()  # from an engine: it begins to work on this request
    PARTIAL = auto()  # from an engine: the beginning of the answer
    REPLY = auto()  # from an engine: the whole answer
    DONE = auto()  # from an engine: every request of the stream is answered
    ALIVE = auto()  # from an engine: heartbeat
    LOG = auto()  # from an engine: a line for the log; the number is its level
    BROKEN = auto()  # from an engine: the process must be replaced
    UNFIT = auto()  # from an engine: a ModelError; starting it again would not help


class Message(NamedTuple):
    """`number` is chosen by the sender, such as the number of a task."""

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
    """Raises OSError when the other side is gone, and errors of pickle before anything is sent."""
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
    """The next message, or None when the other side is gone. Raises OSError where the connection broke."""
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
    """A descriptor of an unnamed file; on Linux in memory."""
    if sys.platform == "linux":
        return os.memfd_create("scanmill")
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    return descriptor
