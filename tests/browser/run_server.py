"""A server of one page and of one run's stream, which cuts, refuses and stalls when a test says so."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STATIC = Path(__file__).resolve().parents[2] / "flows" / "static"
RUN = "0198f0e2-0000-7000-8000-000000000001"
NODES = ("start", "left", "right", "join")

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A run</title>
<div data-run><span data-run-status></span> <span data-run-count></span> <span data-run-duration></span>
<span data-run-error></span> <progress data-run-progress></progress></div>
<svg>%(edges)s</svg>
<div id="cards">%(cards)s</div>
<script type="module">
import { bind, emptyState, follow } from "/static/wataomi/live.js";
import { EventStreamClient } from "/static/wataomi/sse.js";
Object.assign(window, { bind, emptyState, EventStreamClient, seen: [], connections: [] });
const nodes = [...document.querySelectorAll("[data-node]")].map((element) => element.dataset.node);
window.start = () => {
  window.following = follow("%(run)s", {
    state: emptyState(nodes, "%(run)s"),
    onEvent: (event) => seen.push(event.seq),
    onState: (state) => bind(document, state),
    onConnection: (state, detail) => connections.push([state, detail.code]),
  });
};
if (location.search !== "?idle") start();
window.isReady = true;
</script>"""
CARD = """<div class="node" data-node="%s" data-status="idle"><span data-node-status>idle</span>
<span data-node-duration></span> <span data-node-attempt></span> <span data-node-items></span>
<span data-node-message></span> <span data-node-text></span> <span data-node-error></span>
<progress data-node-progress hidden></progress></div>"""
EDGE = """<g data-edge="%(source)s" data-source="%(source)s" data-source-port="main" data-target="%(target)s">
<text data-edge-count></text></g>"""
EDGES = (("start", "left"), ("start", "right"), ("left", "join"), ("right", "join"))


class Run:
    """A run that a test plays: it publishes events, and the streams of all clients show them."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.frames: list[bytes] = []
        self.is_over = False
        self.is_closed = False
        self.refusals: list[tuple[int, str, bytes]] = []
        self.cuts = 0
        self.retry = 50
        self.open = 0
        self.most_open = 0
        self.resumed_after: list[int] = []
        self.bytes_by_path: dict[str, Sequence[bytes]] = {}

    def publish(self, type: str, **data: Any) -> int:
        """Append an event and return its seq."""
        with self.changed:
            seq = len(self.frames) + 1
            event = {"type": type, "data": {"executionId": RUN, **data}}
            self.frames.append(f"data: {json.dumps(event)}\nid: {seq}\n\n".encode())
            self.is_over = type in {"executionFinished", "executionError"}
            self.changed.notify_all()
            return seq

    def progress(self, count: int = 1, node: str = "left") -> int:
        for _ in range(count):
            self.publish("nodeExecutionProgress", nodeId=node, fraction=None, message="", text="")
        return len(self.frames)

    def finish(self) -> int:
        moment = "2026-11-22T16:00:06.000000Z"
        progress = {"done": 4, "total": 4}
        return self.publish(
            "executionFinished", status="success", durationMs=6000, finishedAt=moment, progress=progress
        )

    def cut(self) -> None:
        """End every stream that is open."""
        with self.changed:
            self.cuts += 1
            self.changed.notify_all()

    def refuse(self, *statuses: int, media_type: str = "text/html", body: bytes = b"<h1>Be right back</h1>") -> None:
        """Answer the next requests for the stream with these, one after the other."""
        self.refusals.extend((status, media_type, body) for status in statuses)

    def wait_for_open(self, count: int, timeout: float = 10.0) -> None:
        """Return when exactly `count` clients have the stream open."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.open == count, timeout), f"{self.open} streams are open"


class Handler(BaseHTTPRequestHandler):
    server: RunServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the test's output is its own."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        run = self.server.run
        if path == f"/api/v1/executions/{RUN}/stream":
            self.stream(run)
        elif path in run.bytes_by_path:
            self.pieces(run.bytes_by_path[path])
        elif path.startswith("/static/"):
            self.answer(200, "text/javascript", (STATIC / path.removeprefix("/static/")).read_bytes())
        elif path == "/":
            self.answer(200, "text/html", page().encode())
        else:
            self.answer(404, "text/plain", b"")

    def answer(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def stream(self, run: Run) -> None:
        with run.changed:
            refusal = run.refusals.pop(0) if run.refusals else None
        if refusal:
            self.answer(*refusal)
            return
        after = int(self.headers.get("Last-Event-ID", "0"))
        if run.is_over and after >= len(run.frames):
            self.answer(204, "text/plain", b"")
            return
        self.begin_stream()
        with run.changed:
            run.resumed_after.append(after)
            run.open += 1
            run.most_open = max(run.most_open, run.open)
            run.changed.notify_all()
        try:
            for piece in self.frames(run, after):
                self.wfile.write(piece)
        except OSError:
            pass
        finally:
            with run.changed:
                run.open -= 1
                run.changed.notify_all()

    def frames(self, run: Run, after: int) -> Iterator[bytes]:
        """What is behind `after`, as it comes, until the run is over or the connection is cut."""
        yield f"retry: {run.retry}\n".encode()
        cuts = run.cuts
        while not self.client_is_gone():
            with run.changed:
                if run.cuts == cuts and len(run.frames) == after:
                    run.changed.wait(0.05)
                news = b"".join(run.frames[after:])
                after = len(run.frames)
                is_cut, is_over = run.cuts > cuts or run.is_closed, run.is_over
            if is_cut:
                # In the middle of a frame, as the end of a process would.
                yield news[: len(news) // 2]
                return
            yield news
            if is_over:
                return

    def client_is_gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def pieces(self, pieces: Sequence[bytes]) -> None:
        """Send pieces of bytes one by one, and then hold the connection until the client goes."""
        self.begin_stream()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
        run = self.server.run
        with run.changed:
            while not run.is_closed and not self.client_is_gone():
                run.changed.wait(0.05)


class RunServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.run = Run()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


def page() -> str:
    cards = "".join(CARD % node for node in NODES)
    edges = "".join(EDGE % {"source": source, "target": target} for source, target in EDGES)
    return PAGE % {"run": RUN, "cards": cards, "edges": edges}


@contextmanager
def serving() -> Iterator[RunServer]:
    server = RunServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        with server.run.changed:
            server.run.is_closed = True
            server.run.changed.notify_all()
        server.shutdown()
        thread.join()
        server.server_close()
