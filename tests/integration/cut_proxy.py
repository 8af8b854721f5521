"""A proxy in front of a service, whose wires can be cut: the service goes away for its clients, and comes back."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator


class CutProxy:
    """Passes bytes between clients and `address`; while `cut`, there are no connections, and new ones are refused."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._guard = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener: socket.socket | None = None
        self.port = 0

    def open(self) -> None:
        """Listen, at the same port as before."""
        listener = self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = int(listener.getsockname()[1])
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        with self._guard:
            listener, self._listener = self._listener, None
            pairs, self._pairs = self._pairs, set()
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        for pair in pairs:
            _shut(pair)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                pair = (client, socket.create_connection(self._address))
            except OSError:
                client.close()
                continue
            with self._guard:
                self._pairs.add(pair)
                is_cut = self._listener is not listener
            if is_cut:
                _shut(pair)
            threading.Thread(target=self._pass_on, args=(pair,), daemon=True).start()

    def _pass_on(self, pair: tuple[socket.socket, socket.socket]) -> None:
        other = dict(zip(pair, reversed(pair), strict=True))
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            for side in pair:
                selector.register(side, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    end = key.fileobj
                    data = end.recv(1 << 16)
                    if not data:
                        raise OSError("closed")
                    other[end].sendall(data)
        _shut(pair)
        for side in pair:
            side.close()
        with self._guard:
            self._pairs.discard(pair)


def _shut(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cut_proxy(address: tuple[str, int]) -> Iterator[CutProxy]:
    proxy = CutProxy(address)
    proxy.open()
    try:
        yield proxy
    finally:
        proxy.cut()
