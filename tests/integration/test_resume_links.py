"""Resume links: who has one ends the wait it is for, once, and nothing else; looking at its page changes nothing."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client

from executions import runtime
from executions.models import Command, Execution, NodeExecution
from executions.resume_links import BadToken, read_token, resume_token
from tests import services
from tests.integration.execution_data import journal_of, wait_for_status
from tests.integration.flow_data import make_user
from tests.integration.scripted_nodes import Gate, Scripts, scripted_chain
from tests.integration.waiting_runs import approval, node, start, waiting
from tests.servers import PROJECT, ServerProcess, start_daphne, start_uvicorn
from wataomi.log_secrets import LineFormatter, without_secrets

pytestmark = pytest.mark.usefixtures("executor")

JSON = "application/json"


@pytest.fixture
def author(executor: None, settings: Any) -> User:
    settings.WATAOMI_PARK_AFTER = 0.05
    return make_user("author")


def link(run: Execution, node_id: str = "ask") -> str:
    return f"/resume/{resume_token(run.pk, node_id)}"


def signals(run: Execution) -> int:
    return Command.objects.filter(execution=run, kind="signal").count()


def test_an_answer_of_a_program_is_set_on_each_item(author: User) -> None:
    run = waiting(author, approval(field="answer"), n=1)
    answer = Client(enforce_csrf_checks=True).post(link(run), data=json.dumps({"ok": [1, 2]}), content_type=JSON)
    assert answer.status_code == 202
    assert answer.json() == {"id": str(run.pk), "status": "waiting"}
    assert wait_for_status(run.pk) == "success"
    (command,) = run.commands.all()
    assert (command.kind, command.requester, command.taken_at is not None) == ("signal", None, True)
    assert node(run, "ask").output == {"resumed": [{"n": 1, "answer": {"ok": [1, 2]}}]}


def test_looking_at_the_page_changes_nothing(author: User) -> None:
    run = waiting(author, approval(timeout=2, unit="days"))
    before = journal_of(run.pk)
    page = Client().get(link(run))
    assert page.status_code == 200
    assert page["Cache-Control"] == "no-store"
    assert page["Referrer-Policy"] == "strict-origin"
    text = page.content.decode()
    assert all(word in text for word in ("Ask", "Flow", "Approve", "Decline", " UTC"))
    assert Client().head(link(run)).status_code == 200
    assert signals(run) == 0
    assert journal_of(run.pk) == before


@pytest.mark.parametrize(("approved", "said"), [("true", "Approved."), ("false", "Declined.")])
def test_the_form_of_the_page_resumes_once(author: User, approved: str, said: str) -> None:
    run = waiting(author, approval())
    client = Client(enforce_csrf_checks=True)
    form = {"approved": approved, "comment": "Looks <b>good</b>"}
    assert client.post(link(run), form).status_code == 403, "not from the page"
    client.get(link(run))
    form["csrfmiddlewaretoken"] = client.cookies["csrftoken"].value
    answer = client.post(link(run), form)
    assert answer.status_code == 202
    assert said in answer.content.decode()
    assert client.post(link(run), form).status_code == 409
    assert wait_for_status(run.pk) == "success"
    assert signals(run) == 1
    given = {"approved": approved == "true", "comment": "Looks <b>good</b>"}
    assert node(run, "yes").output == {"main": [{"resume": given}]}
    after = client.get(link(run))
    assert after.status_code == 409
    assert "The run has ended" in after.content.decode()


def test_a_form_without_an_answer_is_refused_with_words(author: User) -> None:
    run = waiting(author, approval())
    page = Client().post(link(run), {"comment": "hm", "approved": "maybe"})
    assert page.status_code == 400
    assert "maybe is not one of the available choices" in page.content.decode()
    assert "hm</textarea>" in page.content.decode()
    assert signals(run) == 0


def test_an_answer_after_the_time_out_is_refused_also_while_nobody_goes_on_with_the_run(author: User) -> None:
    run = waiting(author, approval(timeout=2, unit="days"))
    runtime.shutdown()
    past = datetime.now(UTC) - timedelta(seconds=1)
    NodeExecution.objects.filter(execution=run, node_id="ask").update(wait_until=past)
    Execution.objects.filter(pk=run.pk).update(wake_at=past)
    assert Client().get(link(run)).status_code == 409
    answer = Client().post(link(run), data="{}", content_type=JSON)
    assert (answer.status_code, signals(run)) == (409, 0)
    assert "is over" in answer.json()["detail"]
    runtime.executor(recover=True)
    assert wait_for_status(run.pk) == "success"
    assert node(run, "late").status == "success"


def test_a_link_that_was_tampered_with_is_not_known(author: User) -> None:
    run = waiting(author, approval())
    token = resume_token(run.pk, "ask")
    data, signature = token.split(":")
    for bad in ("x", f"{data}:x", f"x{data}:{signature}", token[:-1], token + "x", f"{data}:{signature}:x"):
        with pytest.raises(BadToken):
            read_token(bad)
        assert Client().get(f"/resume/{bad}").status_code == 404
        assert Client().post(f"/resume/{bad}", {"approved": "true"}).status_code == 404
        answer = Client().post(f"/resume/{bad}", data="{}", content_type=JSON)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert signals(run) == 0


def test_a_link_to_a_run_that_is_gone_is_not_known(author: User) -> None:
    run = waiting(author, approval())
    address = link(run)
    run.delete()
    assert Client().get(address).status_code == 404


def test_a_link_can_be_opened_before_the_node_waits(author: User, scripts: Scripts) -> None:
    gate = Gate()
    scripts["first"] = gate
    graph = scripted_chain("first")
    graph["nodes"].append({"id": "ask", "type": "wait_for_resume", "name": "Ask"})
    graph["edges"].append({"source": "first", "target": "ask"})
    run = start(author, graph)
    gate.wait_entered()
    page = Client().get(link(run))
    assert page.status_code == 409
    assert "does not wait yet" in page.content.decode()
    assert Client().post(link(run), data="{}", content_type=JSON).status_code == 409
    gate.open()
    wait_for_status(run.pk, "waiting")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 202, ""),
        (b"{}", 202, ""),
        (b"[1]", 400, "must be a JSON object"),
        (b"{", 400, "not JSON"),
        (b'{"a": "' + b"x" * 600 + b'"}', 400, "at most 500"),
        (b'{"a": ' + b"[" * 80 + b"]" * 80 + b"}", 400, "nested deeper"),
    ],
)
def test_what_programs_may_send(author: User, settings: Any, body: bytes, status: int, said: str) -> None:
    run = waiting(author, approval())
    settings.WATAOMI_MAX_INPUT_BYTES = 500
    answer = Client().post(link(run), data=body, content_type=JSON)
    assert answer.status_code == status, answer.content
    assert said in answer.content.decode()
    assert signals(run) == (status == 202)


def test_other_methods_and_types_are_refused(author: User) -> None:
    run = waiting(author, approval())
    assert Client().put(link(run)).status_code == 405
    assert Client().post(link(run), data="yes", content_type="text/plain").status_code == 415


def test_no_log_has_the_secret(author: User, caplog: pytest.LogCaptureFixture) -> None:
    run = waiting(author, approval())
    token = resume_token(run.pk, "ask")
    client = Client(enforce_csrf_checks=True)
    caplog.handler.setFormatter(LineFormatter("%(message)s"))
    with caplog.at_level(logging.DEBUG):
        client.post(f"/resume/{token}", {"approved": "true"})
        client.get("/login", {"next": f"/resume/{token}"})
        client.get(f"/resume//{token}")
        logging.getLogger("daphne.server").warning("%s took too long", [f"uri=/resume/{token}"])
        try:
            raise ValueError(f"/resume/{token}")
        except ValueError:
            logging.getLogger("django.request").exception("Internal Server Error")
        client.post(f"/resume/{token}", data="{}", content_type=JSON)
        client.post(f"/resume/{token}", data="{}", content_type=JSON)
    assert "/resume/" in caplog.text
    assert token not in caplog.text


def test_a_long_line_is_logged_at_once_and_secrets_in_it_are_not() -> None:
    """Anybody may ask for a long address: looked for from each character, nothing would be found for minutes."""
    token, filler = resume_token(UUID(int=1), "ask"), "a" * 300_000
    assert without_secrets(f"GET /{filler} /resume/{token}") == f"GET /{filler} /resume/***"


@pytest.mark.parametrize("start_server", [start_daphne, start_uvicorn])
def test_no_access_log_has_the_secret(tmp_path: Path, start_server: Callable[..., ServerProcess]) -> None:
    token = resume_token(UUID(int=1), "ask")
    server = start_server(tmp_path / "server.log", environment=services.test_environment())
    try:
        assert httpx.get(f"{server.url}/resume/{token}", trust_env=False).status_code == 404
        server.wait_for_log("/resume/***")
    finally:
        server.terminate()
    assert token not in server.log()


@pytest.mark.parametrize(
    ("approved", "reached"), [(True, {"ship": "success", "refuse": "skipped"}), (False, {"refuse": "success"})]
)
def test_the_flow_of_the_how_to_works(author: User, approved: bool, reached: dict[str, str]) -> None:
    page = (PROJECT / "docs" / "howto" / "wait-for-approval.md").read_text()
    (graph,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    run = waiting(author, json.loads(graph))
    mailed: Any = node(run, "mail").output
    sent = re.fullmatch(r"Please decide: http://localhost:8000(/resume/\S+)", mailed["main"][0]["text"])
    assert sent is not None
    answer = Client().post(sent[1], data=json.dumps({"approved": approved}), content_type=JSON)
    assert answer.status_code == 202
    assert wait_for_status(run.pk) == "success"
    assert {id: node(run, id).status for id in reached} == reached
    assert node(run, "remind").status == "skipped"
