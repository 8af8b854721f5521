"""An HTTP client that reads only when it is told to: a plain socket, for what real clients do to servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from types import TracebackType


class RawClient:
    """Sends one request and reads its response bit by bit. A context manager that closes the connection."""

    def __init__(
        self,
        port: int,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 20.0,
        receive_buffer: int | None = None,
    ) -> None:
        """`receive_buffer`: bytes that the kernel keeps for a client that does not read (it takes about double)."""
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.buffer = b""
        lines = {"Host": f"127.0.0.1:{port}", **(headers or {})}
        if body:
            lines["Content-Length"] = str(len(body))
        request = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.socket.sendall(request.encode() + b"\r\n" + body)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    @property
    def local_port(self) -> int:
        return int(self.socket.getsockname()[1])

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Read the status and the headers (their names in lower case)."""
        lines = self._read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value for name, value in headers.items()}

    def chunks(self) -> Iterator[bytes]:
        """Yield the parts of a chunked body; raise EOFError when the connection ends before the body does."""
        while size := int(self._read_until(b"\r\n"), 16):
            chunk = self._read(size)
            self._read(2)
            yield chunk
        self._read(2)

    def read_body(self) -> tuple[bytes, bool]:
        """Read a chunked body to its end; return it, and whether it is complete."""
        parts: list[bytes] = []
        try:
            parts.extend(self.chunks())
        except (EOFError, ConnectionError):
            return b"".join(parts), False
        return b"".join(parts), True

    def _read_until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            self.receive()
        found, self.buffer = self.buffer.split(end, 1)
        return found

    def _read(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.receive()
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    def receive(self, size: int = 1 << 20) -> None:
        """Take up to `size` bytes from the connection, for what is read next."""
        received = self.socket.recv(size)
        if not received:
            raise EOFError("The connection ended before the response did")
        self.buffer += received
