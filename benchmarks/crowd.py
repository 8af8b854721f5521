"""Many readers of one stream, in a process of their own, which costs little: what is measured is the server.

It reads what it is to do as JSON from its standard input, writes `ready` when all readers have their first bytes, and
what they saw, as JSON, when all streams have ended. Nothing is parsed but by the first reader: the others count ends of
frames, and compare the last id of each read with the count, so that no event can be missing, double or out of turn.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from array import array
from dataclasses import dataclass, field
from typing import Any

TICK = re.compile(rb'"text":"([0-9.]+)\\n".*\nid: ([0-9]+)\n')
END = b'"type":"executionFinished"'
READ_BYTES = 1 << 18


@dataclass(slots=True)
class Reader:
    connection: socket.socket
    count: int = 0
    """Frames that have ended."""
    faults: int = 0
    """Reads behind which the count was not the last id."""
    ended: bool = False
    tail: bytes = b""


@dataclass(slots=True)
class Crowd:
    readers: dict[int, Reader] = field(default_factory=dict)
    reads: array[float] = field(default_factory=lambda: array("d"))
    """Of each read: when, and the first and the last event that it completed."""
    everything: list[bytes] = field(default_factory=list)
    """What the first reader got."""

    def open(self, port: int, request: bytes, count: int) -> None:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(request)
            self.readers[connection.fileno()] = Reader(connection)

    def wait_for_first_bytes(self) -> None:
        for reader in self.readers.values():
            while b"retry: " not in reader.tail:
                piece = reader.connection.recv(4096)
                if not piece:
                    raise ConnectionError(f"A stream ended before it began: {reader.tail!r}")
                reader.tail += piece
            head, _, rest = reader.tail.partition(b"retry: ")
            if b" 200 " not in head:
                raise ConnectionError(f"No stream: {head!r}")
            reader.tail = b""
            self._take(reader, rest)
            reader.connection.setblocking(False)

    def read_all(self) -> None:
        first = next(iter(self.readers))
        poll = select.epoll()
        for number in self.readers:
            poll.register(number, select.EPOLLIN)
        still_open = len(self.readers)
        while still_open:
            for number, _ in poll.poll():
                reader = self.readers[number]
                data = reader.connection.recv(READ_BYTES)
                if data:
                    if number == first:
                        self.everything.append(data)
                    self._take(reader, data)
                else:
                    poll.unregister(number)
                    still_open -= 1

    def _take(self, reader: Reader, data: bytes) -> None:
        fresh = data.count(b"\n\n")
        if data[:1] == b"\n" and reader.tail[-1:] == b"\n":
            fresh += 1
        if fresh:
            before = reader.count
            reader.count += fresh
            self.reads.extend((time.time(), before + 1, reader.count))
            end = data.rfind(b"\n\n")
            start = data.rfind(b"\nid: ", 0, end + 1)
            if start >= 0 and int(data[start + 5 : end]) != reader.count:
                reader.faults += 1
            if END in (reader.tail + data)[-2000:]:
                reader.ended = True
        reader.tail = data[-1000:]

    def emitted(self) -> dict[int, float]:
        """When each tick was reported, as the first reader's events say."""
        # The lengths of the parts of a chunked body stand between events, never in them.
        return {int(seq): float(at) for at, seq in TICK.findall(b"".join(self.everything))}

    def delays(self) -> list[int]:
        """How many events came how many milliseconds behind their report."""
        emitted = self.emitted()
        counts: list[int] = []
        for position in range(0, len(self.reads), 3):
            now, first, last = self.reads[position : position + 3]
            for seq in range(int(first), int(last) + 1):
                if seq in emitted:
                    late = max(0, int((now - emitted[seq]) * 1000))
                    counts.extend([0] * (late + 1 - len(counts)))
                    counts[late] += 1
        return counts


def main() -> None:
    given: dict[str, Any] = json.load(sys.stdin)
    crowd = Crowd()
    crowd.open(given["port"], given["request"].encode(), given["readers"])
    crowd.wait_for_first_bytes()
    print("ready", flush=True)
    crowd.read_all()
    ended = time.time()
    readers = crowd.readers.values()
    saw = {
        "events": sum(reader.count for reader in readers),
        "complete": sum(reader.ended and not reader.faults for reader in readers),
        "faults": sum(reader.faults for reader in readers),
        "ended_at": ended,
        "delays": crowd.delays(),
    }
    print(json.dumps(saw), flush=True)


if __name__ == "__main__":
    main()
