"""PostgreSQL goes away under a server with readers, and comes back: they wait, or are sent away, and miss nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from django.contrib.auth.models import User

from tests import services
from tests.integration.cut_proxy import CutProxy, cut_proxy
from tests.integration.execution_data import EXECUTIONS, FrameReader, assert_complete, bearer, chain_of, make_flow
from tests.integration.flow_data import make_user
from tests.raw_client import RawClient
from tests.servers import ServerProcess, StartServer, wait_until, within

pytestmark = pytest.mark.services_only

READERS = 10
KEEP_ALIVE = b": keep-alive\n"


@pytest.fixture
def wire() -> Iterator[CutProxy]:
    """What the server reaches the database by; the test itself reaches it directly."""
    url = urlsplit(services.test_environment()["DATABASE_URL"])
    with cut_proxy((url.hostname or "127.0.0.1", url.port or 5432)) as proxy:
        yield proxy


@pytest.fixture
def server(project_server: StartServer, wire: CutProxy) -> ServerProcess:
    url = urlsplit(services.test_environment()["DATABASE_URL"])
    through = url._replace(netloc=f"{url.username}{f':{url.password}' if url.password else ''}@127.0.0.1:{wire.port}")
    return project_server(environment={"DATABASE_URL": through.geturl(), "WATAOMI_KEEP_ALIVE": "0.3"})


@pytest.fixture
def author(transactional_db: None) -> User:
    return make_user("author")


class Reader:
    """Follows a stream in a thread, to its end."""

    def __init__(self, server: ServerProcess, path: str, headers: dict[str, str]) -> None:
        self.frames = FrameReader()
        self.comments = 0
        self.complete = False
        self.status = 0
        self._client = RawClient(server.port, path, headers=headers, timeout=within(60))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._client as client:
            self.status = client.read_head()[0]
            if self.status != 200:
                return
            try:
                for chunk in client.chunks():
                    self.comments += chunk.count(KEEP_ALIVE)
                    self.frames.feed(chunk)
                self.complete = True
            except (EOFError, ConnectionError):
                self.frames.cut()

    def wait(self) -> None:
        self._thread.join(within(60))
        assert not self._thread.is_alive()


def get(server: ServerProcess, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(server.url + path, headers=headers, timeout=within(30), trust_env=False)


def start_run(server: ServerProcess, author: User, seconds: float) -> str:
    """A run of some nodes that takes so long."""
    flow = make_flow(author, chain_of(*[("delay", {"seconds": seconds / 4})] * 4))
    answer = httpx.post(
        server.url + EXECUTIONS, json={"flow_id": flow.pk}, headers=bearer(author), trust_env=False, timeout=within(30)
    )
    return f"{EXECUTIONS}/{answer.json()['id']}"


def test_streams_outlast_a_database_that_is_away_for_a_while(
    server: ServerProcess, wire: CutProxy, author: User
) -> None:
    run = start_run(server, author, 2)
    readers = [Reader(server, f"{run}/stream", bearer(author)) for _ in range(READERS)]
    wait_until(lambda: all(reader.frames.frames for reader in readers))
    wire.cut()
    # Longer than the run would take.
    before = [reader.comments for reader in readers]
    wait_until(lambda: all(reader.comments >= seen + 9 for reader, seen in zip(readers, before, strict=True)), 20)
    assert not any(reader.frames.ended for reader in readers)
    late = Reader(server, f"{run}/stream", bearer(author))
    late.wait()
    assert late.status == 503, "no stream is begun that cannot be read"
    wire.open()
    for reader in readers:
        reader.wait()
        assert reader.complete
        assert_complete(reader.frames.frames)
        assert reader.frames.frames[-1].data["status"] == "success"
    log = server.log()
    assert "broke off" not in log
    assert log.count("cannot read the journal") <= 1


def test_while_the_database_is_away_everybody_is_told_so_and_to_come_again(
    server: ServerProcess, wire: CutProxy, author: User
) -> None:
    path = start_run(server, author, 0.1)
    wire.cut()
    page_of_a_session = ("/", {"Cookie": "sessionid=of-somebody-who-is-logged-in"})
    asked = [(api_path, bearer(author)) for api_path in (path, f"{path}/stream", EXECUTIONS, "/api/v1/flows")]
    with ThreadPoolExecutor(len(asked) + 1) as pool:  # each waits some seconds for a connection
        *answers, page = pool.map(lambda request: get(server, *request), [*asked, page_of_a_session])
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["code"] == "database_away"
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/json"
    assert page.status_code == 503
    assert "The database does not answer" in page.text
    assert "Traceback" not in page.text and "psycopg" not in page.text
    health = get(server, "/healthz")
    assert health.status_code == 503
    assert "database" in json.dumps(health.json())
    wire.open()
    wait_until(lambda: get(server, path, bearer(author)).status_code == 200, 20)
