"""The HTTP request node against a real server on this machine."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_django import Settings

from flows.context import Items, NodeContext, NodeError, Scope
from flows.graph import Node
from flows.node_types import execute, registry
from flows.nodes import addresses


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Service:
    """A server and what it was asked; `busy` counts the requests it is answering, `busiest` the most at one time."""

    port: int
    seen: list[Seen] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


PLAIN_ANSWERS: dict[str, tuple[int, bytes, str]] = {
    "latin": (200, "é".encode("latin-1"), "text/plain; charset=latin-1"),
    "bytes": (200, b"\xff\xfe\x00", "application/octet-stream"),
    "badjson": (200, b"{nope", "application/json"),
    "empty": (204, b"", "application/json"),
    "bomb": (200, gzip.compress(b"0" * 3_000_000), "text/plain"),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def service(self) -> Service:
        return cast(Service, self.server.service)  # type: ignore[attr-defined]

    def answer(self) -> None:
        service = self.service
        with service.lock:
            service.busy += 1
            service.busiest = max(service.busiest, service.busy)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        service.seen.append(Seen(self.command, self.path, headers, body))
        try:
            name, _, argument = self.path.partition("?")[0].strip("/").partition("/")
            self.route(name, argument)
        finally:
            with service.lock:
                service.busy -= 1

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer  # noqa: N815

    def route(self, name: str, argument: str) -> None:
        if special := {"hang": self.hang, "drip": self.drip, "cut": self.cut}.get(name):
            special()
        elif name == "status":
            self.send(int(argument), b"something is wrong\n" if int(argument) >= 400 else b"", "text/plain")
        elif name == "redirect":
            self.redirect(f"/redirect/{int(argument) - 1}" if int(argument) > 1 else "/json")
        elif name == "to":
            self.redirect(f"http://{argument}:{self.service.port}/json")
        elif name == "file":
            self.redirect("file:///etc/passwd")
        elif name in PLAIN_ANSWERS:
            self.send(*PLAIN_ANSWERS[name])
        else:
            self.service.stop.wait(0.2 if name == "slow" else 0)
            body = {"path": self.path, "items": [1, None], "ü": "ö"}
            self.send(200, json.dumps(body).encode(), "application/problem+json", **{"X-Two": "a"})

    def redirect(self, location: str) -> None:
        self.send(307, b"", "text/plain", Location=location)

    def hang(self) -> None:
        self.close_connection = True
        self.service.stop.wait(30)

    def cut(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"short")

    def drip(self) -> None:
        """An answer without an end, a bit at a time: no single read ever times out."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        while not self.service.stop.wait(0.05):
            try:
                self.wfile.write(b"x")
            except OSError:
                return

    def send(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if body.startswith(b"\x1f\x8b"):
            self.send_header("Content-Encoding", "gzip")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # the default of 5 makes the kernel drop the sixth connection, which comes back after 1 s


@pytest.fixture
def service() -> Iterator[Service]:
    server = Server(("127.0.0.1", 0), Handler)
    service = Service(server.server_port)
    server.service = service  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield service
    service.stop.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def allowed(settings: Settings) -> None:
    settings.WATAOMI_HTTP_ALLOW_PRIVATE = True


class Reports:
    def __init__(self) -> None:
        self.seen: list[tuple[float | None, str]] = []

    async def __call__(self, fraction: float | None = None, message: str = "", text: str = "") -> None:
        self.seen.append((fraction, message))


async def call(params: dict[str, Any], items: Items | None = None, reports: Reports | None = None) -> Items:
    async def no_params() -> list[dict[str, Any]]:
        return []

    ctx = NodeContext(
        node=Node(id="n", type="http", name="Call", params=params),
        attempt=1,
        inputs={"main": [{}] if items is None else items},
        scope=Scope(now="2026-11-22T16:00:00.000000Z"),
        idempotency_key="run:n",
        progress=reports or Reports(),
        params_for=no_params,
    )
    return (await execute(registry["http"], ctx))["main"]


async def failure(params: dict[str, Any], items: Items | None = None) -> NodeError:
    with pytest.raises(NodeError) as caught:
        await call(params, items)
    assert caught.value.hint
    return caught.value


async def test_an_answer_becomes_an_item(service: Service) -> None:
    [item] = await call({"url": f"{service.url}/json"})
    assert item["status"] == 200
    assert item["body"] == {"path": "/json", "items": [1, None], "ü": "ö"}
    assert item["headers"]["x-two"] == "a"
    assert json.dumps(item)
    assert service.seen[0].headers["user-agent"] == "WataOmi"
    assert service.seen[0].headers["host"] == f"127.0.0.1:{service.port}"


async def test_each_item_is_a_request_of_its_own_and_answers_keep_their_order(service: Service) -> None:
    reports = Reports()
    items = [{"id": n} for n in range(20)]
    params = {"url": f'="{service.url}/json/" + str(item["id"])', "query": {"n": '=item["id"]', "all": [1, "x&y"]}}
    answers = await call(params, items, reports)
    assert [answer["body"]["path"] for answer in answers] == [f"/json/{n}?n={n}&all=1&all=x%26y" for n in range(20)]
    assert reports.seen[-1] == (1.0, "20 of 20 requests")


async def test_the_query_is_added_to_the_one_of_the_url(service: Service) -> None:
    [item] = await call({"url": f"{service.url}/json?a=1", "query": {"b": True, "c": None}})
    assert item["body"]["path"] == "/json?a=1&b=true"


async def test_reads_run_side_by_side_and_writes_one_after_the_other(service: Service) -> None:
    items: Items = [{} for _ in range(6)]
    await call({"url": f"{service.url}/slow"}, items)
    assert service.busiest > 1
    service.busiest = 0
    await call({"url": f"{service.url}/slow", "method": "POST"}, items)
    assert service.busiest == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_methods_that_change_something_carry_an_idempotency_key_for_each_item(
    service: Service, method: str
) -> None:
    await call({"url": service.url, "method": method, "body": {"n": '=item["n"]'}}, [{"n": 1}, {"n": 2}])
    assert [seen.headers["idempotency-key"] for seen in service.seen] == ["run:n", "run:n-1"]
    assert [seen.method for seen in service.seen] == [method] * 2
    assert [json.loads(seen.body) for seen in service.seen] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_methods_that_only_read_carry_none(service: Service, method: str) -> None:
    await call({"url": service.url, "method": method})
    assert "idempotency-key" not in service.seen[0].headers


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        ({"a": [1]}, '{"a":[1]}', "application/json"),
        ([1], "[1]", "application/json"),
        (5, "5", "application/json"),
        (False, "false", "application/json"),
        ('{"a": 1}', '{"a": 1}', "application/json"),
        ("plain ü", "plain ü", "text/plain; charset=utf-8"),
        (None, "", ""),
    ],
)
async def test_a_body_is_sent_as_what_it_is(service: Service, body: Any, sent: str, content_type: str) -> None:
    await call({"url": service.url, "method": "POST", "body": body})
    assert (service.seen[0].body, service.seen[0].headers.get("content-type", "")) == (sent, content_type)


async def test_headers_that_are_given_win(service: Service) -> None:
    headers = {"content-type": "application/x-thing", "IDEMPOTENCY-KEY": "mine", "X-Number": 5, "X-None": None}
    await call({"url": service.url, "method": "POST", "body": {"a": 1}, "headers": headers})
    seen = service.seen[0].headers
    assert (seen["content-type"], seen["idempotency-key"], seen["x-number"]) == ("application/x-thing", "mine", "5")
    assert "x-none" not in seen


@pytest.mark.parametrize(
    ("path", "body"),
    [("latin", "é"), ("bytes", {"base64": "//4A"}), ("badjson", "{nope"), ("empty", None)],
)
async def test_bodies_that_are_not_json(service: Service, path: str, body: Any) -> None:
    [item] = await call({"url": f"{service.url}/{path}"})
    assert item["body"] == body


@pytest.mark.parametrize("status", [400, 404, 500, 503])
async def test_an_error_status_is_an_error(service: Service, status: int) -> None:
    error = await failure({"url": f"{service.url}/status/{status}?secret=1"})
    assert error.type == "HTTPStatus"
    assert f"GET {service.url}/status/{status} was answered {status} " in error.message
    assert "secret" not in error.message
    assert "something is wrong" in error.hint


async def test_an_error_status_is_an_item_when_it_is_accepted(service: Service) -> None:
    [item] = await call({"url": f"{service.url}/status/404", "accept_errors": True})
    assert (item["status"], item["body"]) == (404, "something is wrong\n")


async def test_the_error_names_the_item_and_nothing_is_sent_behind_it(service: Service) -> None:
    items = [{"s": status} for status in (200, 404, 200, 200)]
    error = await failure({"url": f'="{service.url}/status/" + str(item["s"])', "method": "POST"}, items)
    assert error.message.startswith("Item 1: POST ")
    assert [seen.path for seen in service.seen] == ["/status/200", "/status/404"]


async def test_redirects_are_followed_up_to_a_limit(service: Service) -> None:
    [item] = await call({"url": f"{service.url}/redirect/5"})
    assert item["body"]["path"] == "/json"
    assert "more than 5 times" in (await failure({"url": f"{service.url}/redirect/6"})).message


async def test_a_redirect_leads_to_no_file(service: Service) -> None:
    assert (await failure({"url": f"{service.url}/file"})).type == "HTTPError"


@pytest.mark.parametrize("path", ["hang", "drip"])
async def test_the_time_out_is_for_the_whole_answer(service: Service, path: str) -> None:
    began = time.monotonic()
    error = await failure({"url": f"{service.url}/{path}", "timeout": 0.3})
    assert time.monotonic() - began < 2
    assert error.type == "Timeout"
    assert "within 0.3 s" in error.message


async def test_an_answer_that_unpacks_beyond_the_limit_is_refused(service: Service, settings: Settings) -> None:
    [item] = await call({"url": f"{service.url}/bomb"})
    assert len(item["body"]) == 3_000_000
    settings.WATAOMI_HTTP_MEGABYTES = 2
    error = await failure({"url": f"{service.url}/bomb"})
    assert error.type == "ResponseTooLarge"
    assert "more than 2 MB" in error.message


async def test_an_answer_cut_short_is_an_error(service: Service) -> None:
    assert (await failure({"url": f"{service.url}/cut"})).type == "HTTPError"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("no scheme", "BadURL"),
        ("ftp://example.com/", "BadURL"),
        ("file:///etc/passwd", "BadURL"),
        ("http://", "BadURL"),
        ("http://[::1", "HTTPError"),
        ("http://127.0.0.1:99999/", "HTTPError"),
        ("http://127.0.0.1:0/", "HTTPError"),
        ("http://nowhere.invalid/", "UnknownHost"),
        ("http://" + "a" * 70 + ".invalid/", "UnknownHost"),
    ],
)
async def test_a_url_that_leads_nowhere_is_an_error(url: str, kind: str) -> None:
    error = await failure({"url": url})
    assert error.type == kind, error.message
    assert error.message.startswith("Item 0: GET ")


async def test_a_refused_connection_and_a_bad_header_are_errors(service: Service) -> None:
    assert (await failure({"url": f"http://127.0.0.1:{closed_port()}/"})).type == "HTTPError"
    assert (await failure({"url": service.url, "headers": {"X": "a\r\nY: b"}})).type == "HTTPError"
    assert (await failure({"url": service.url, "headers": {"X": "€"}})).type == "HTTPError"
    assert service.seen == []


async def test_user_and_password_of_a_url_are_sent_and_never_shown(service: Service) -> None:
    url = f"http://someone:hidden@127.0.0.1:{service.port}"
    await call({"url": f"{url}/json"})
    assert service.seen[0].headers["authorization"].startswith("Basic ")
    assert "hidden" not in (await failure({"url": f"{url}/status/500"})).message


async def test_a_name_with_several_addresses_is_tried_at_each(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def several(host: str, port: int) -> list[str]:
        return ["127.0.0.9", "127.0.0.1"]

    monkeypatch.setattr(addresses, "addresses_of", several)
    answers = await call({"url": f"http://several.test:{service.port}/json"}, [{}, {}])
    assert [answer["status"] for answer in answers] == [200, 200]
    assert service.seen[0].headers["host"] == f"several.test:{service.port}"


# What must not be reached


PRIVATE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "localhost",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "[fe80::1]",
    "[fd00::1]",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
]


@pytest.mark.parametrize("host", PRIVATE)
async def test_addresses_off_the_public_internet_are_refused(service: Service, settings: Settings, host: str) -> None:
    settings.WATAOMI_HTTP_ALLOW_PRIVATE = False
    error = await failure({"url": f"http://{host}:{service.port}/json"})
    assert error.type == "ForbiddenAddress", error.message
    assert "WATAOMI_HTTP_ALLOW_PRIVATE" in error.hint
    assert service.seen == []


def test_public_addresses_are_public() -> None:
    for address in ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]:
        assert addresses.is_public(address), address
    assert not addresses.is_public("fe80::1%eth0")


def only_loopback_one_is_public(address: str) -> bool:
    return address == "127.0.0.1"


async def test_a_redirect_to_a_private_address_is_refused(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WATAOMI_HTTP_ALLOW_PRIVATE = False
    monkeypatch.setattr(addresses, "is_public", only_loopback_one_is_public)
    error = await failure({"url": f"{service.url}/to/127.0.0.2"})
    assert error.type == "ForbiddenAddress"
    assert [seen.path for seen in service.seen] == ["/to/127.0.0.2"]


async def test_a_name_is_looked_up_once_and_the_connection_goes_where_it_was_checked(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["127.0.0.2"]

    settings.WATAOMI_HTTP_ALLOW_PRIVATE = False
    monkeypatch.setattr(addresses, "is_public", only_loopback_one_is_public)
    monkeypatch.setattr(addresses, "addresses_of", rebinding)
    items = [{"p": path} for path in ("json", "redirect/1")]
    answers = await call({"url": f'="http://rebinding.test:{service.port}/" + item["p"]', "method": "POST"}, items)
    assert [answer["status"] for answer in answers] == [200, 200]
    assert looked_up == ["rebinding.test"]
    assert {seen.headers["host"] for seen in service.seen} == {f"rebinding.test:{service.port}"}


async def test_requests_under_way_at_once_share_one_look_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []

    async def slow(host: str, port: int) -> list[str]:
        looked_up.append(host)
        await asyncio.sleep(0.01)
        return ["127.0.0.1"]

    monkeypatch.setattr(addresses, "addresses_of", slow)
    await call({"url": f"http://one.test:{service.port}/json"}, [{} for _ in range(8)])
    assert looked_up == ["one.test"]


async def test_of_a_name_with_mixed_addresses_only_the_public_ones_are_reached(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mixed(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    settings.WATAOMI_HTTP_ALLOW_PRIVATE = False
    monkeypatch.setattr(addresses, "is_public", only_loopback_one_is_public)
    monkeypatch.setattr(addresses, "addresses_of", mixed)
    await call({"url": f"http://mixed.test:{service.port}/json"})
    assert len(service.seen) == 1


def certificate(name: str) -> bytes:
    """A self-signed certificate for `name` and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return built.public_bytes(pem) + private


async def test_a_certificate_must_be_for_the_name_and_not_for_the_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "server.pem"
    file.write_bytes(certificate("secure.test"))
    trusting = ssl.create_default_context(cafile=str(file))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)

    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    monkeypatch.setattr(addresses, "addresses_of", here)
    monkeypatch.setattr(addresses, "tls_context", lambda: trusting)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    async with server:
        [item] = await call({"url": f"https://secure.test:{port}/"})
        assert item["body"] == "ok"
        error = await failure({"url": f"https://other.test:{port}/"})
        assert "certificate verify failed" in error.message
        monkeypatch.setattr(addresses, "tls_context", ssl.create_default_context)
        assert "certificate verify failed" in (await failure({"url": f"https://secure.test:{port}/"})).message


async def test_no_proxy_of_the_environment_is_used(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    [item] = await call({"url": f"{service.url}/json"})
    assert item["status"] == 200
