"""nginx with the very configuration of docs/howto/deploy.md in front of two web processes: streams stay live."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User

from tests.integration.execution_data import EXECUTIONS, FrameReader, assert_complete, bearer, chain_of, make_flow
from tests.integration.flow_data import make_user
from tests.servers import PROJECT, ServerProcess, StartServer, free_port, start_process, within

JSON = {"Content-Type": "application/json"}
HOST = "wataomi.example"
GAP = 0.5
"""Seconds between two nodes of the flow."""

BEHIND_NGINX = {"HTTPS": "1", "BEHIND_PROXY": "1", "ALLOWED_HOSTS": HOST, "WATAOMI_KEEP_ALIVE": "0.2"}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    arguments = ["-subj", f"/CN={HOST}", "-keyout", str(path.with_suffix(".key")), "-out", str(path)]
    subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=30)
    return path


def configuration(folder: Path, certificate: Path, ports: tuple[int, int], http: int, https: int) -> str:
    """The server of the how-to with what is another one here: ports, certificate, folders."""
    page = (PROJECT / "docs" / "howto" / "deploy.md").read_text()
    server, main = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)
    for there, here in {
        "127.0.0.1:8001": f"127.0.0.1:{ports[0]}",
        "127.0.0.1:8002": f"127.0.0.1:{ports[1]}",
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen 443 ssl": f"listen 127.0.0.1:{https} ssl",
        "/etc/ssl/certs/wataomi.pem": str(certificate),
        "/etc/ssl/private/wataomi.key": str(certificate.with_suffix(".key")),
        "/srv/wataomi/staticfiles/": f"{folder}/static/",
    }.items():
        assert there in server
        server = server.replace(there, here)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    # nginx itself may not open more files than this machine lets it.
    main = main.replace("worker_rlimit_nofile 65536;", "").replace("16384", "512")
    user = "user root;\n" if os.geteuid() == 0 else ""  # it would become one that may not read the folder
    return f"{user}daemon off;\npid {folder}/pid;\n{main}\nhttp {{\naccess_log off;\n{temporary}{server}}}\n"


class Proxy:
    """nginx, and the two servers behind it."""

    def __init__(self, process: ServerProcess, servers: list[ServerProcess], https: int, http: int) -> None:
        self.process, self.servers, self.http = process, servers, http
        self._arguments: dict[str, Any] = {"base_url": f"https://127.0.0.1:{https}", "verify": False}

    def client(self, user: User) -> httpx.Client:
        headers = {**bearer(user), "Host": HOST, "Accept-Encoding": "gzip"}
        return httpx.Client(**self._arguments, headers=headers, trust_env=False, timeout=20)


@pytest.fixture
def proxy(project_server: StartServer, tmp_path: Path, certificate: Path) -> Iterator[Proxy]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    servers = [project_server(environment=BEHIND_NGINX) for _ in range(2)]
    http, https = free_port(), free_port()
    ports = (servers[0].port, servers[1].port)
    (tmp_path / "nginx.conf").write_text(configuration(tmp_path, certificate, ports, http, https))
    command = [program, "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"]
    process = start_process(command, tmp_path / "nginx.log", http)
    try:
        process.wait_until_ready()
        yield Proxy(process, servers, https, http)
    finally:
        process.terminate()


@pytest.fixture
def author(proxy: Proxy) -> User:
    return make_user("author")


def spaced_flow(author: User) -> int:
    return make_flow(author, chain_of(*[("delay", {"seconds": GAP})] * 5)).pk


def test_frames_pass_the_proxy_one_by_one_and_a_cut_stream_is_resumed(proxy: Proxy, author: User) -> None:
    reader = FrameReader()
    body = {"flow_id": spaced_flow(author), "input_data": {}}
    with proxy.client(author) as client:
        with client.stream("POST", f"{EXECUTIONS}/stream", json=body) as stream:
            assert stream.status_code == 200, stream.read()
            assert "Content-Encoding" not in stream.headers
            silent = 0
            for chunk in stream.iter_raw():
                silent += chunk.count(b": keep-alive")
                if ended_nodes(reader.feed(chunk)) and len(ended_nodes(reader.frames)) == 4:
                    break
        reader.cut()
        run = reader.frames[0].data["executionId"]
        proxy.servers[1].kill()  # whose turn it is: the other one answers in its place
        last = {"Last-Event-ID": str(reader.last_seq)}
        with client.stream("GET", f"{EXECUTIONS}/{run}/stream", headers=last) as stream:
            assert stream.status_code == 200
            for chunk in stream.iter_raw():
                reader.feed(chunk)
    assert_complete(reader.frames)
    assert silent >= 2
    arrivals = [frame.at for frame in ended_nodes(reader.frames)[:4]]
    assert arrivals[-1] - arrivals[0] == pytest.approx(3 * GAP, abs=within(0.4))
    assert min(after - before for before, after in pairwise(arrivals)) > GAP / 2


def test_everything_else_passes_too(proxy: Proxy, author: User, tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "some.css").write_text("a {}")
    with proxy.client(author) as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/static/some.css").text == "a {}"
        assert client.get("/login").status_code == 200  # and no redirect to itself: it is known to have come by HTTPS
        too_large = client.post(EXECUTIONS, content=b"{" + b" " * (5 * 1024 * 1024) + b"}", headers=JSON)
        assert (too_large.status_code, too_large.json()["code"]) == (413, "body_too_large")
    plain = httpx.get(f"http://127.0.0.1:{proxy.http}/login?next=/", headers={"Host": HOST}, trust_env=False)
    assert (plain.status_code, plain.headers["Location"]) == (301, f"https://{HOST}/login?next=/")


def ended_nodes(frames: list[Any]) -> list[Any]:
    return [frame for frame in frames if frame.type == "nodeExecutionAfter"]
