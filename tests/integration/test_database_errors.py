"""What the API and the pages answer when the database fails: 503 when the same may succeed in a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection
from django.test import Client
from django.urls import reverse

from tests.integration.execution_data import EXECUTIONS, bearer
from tests.integration.flow_data import make_user

AWAY = [OperationalError("the connection is lost"), InterfaceError("connection already closed")]


@pytest.fixture
def author(db: None) -> User:
    return make_user("author")


@pytest.fixture
def fails_with() -> Iterator[Callable[[Exception], None]]:
    """Return a function that makes each query for runs and flows fail."""
    with ExitStack() as stack:

        def fail_with(error: Exception) -> None:
            def run(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
                if "flows_flow" in sql or "executions_execution" in sql:
                    raise error
                return execute(sql, *rest)

            stack.enter_context(connection.execute_wrapper(run))

        yield fail_with


@pytest.mark.parametrize("error", AWAY)
def test_the_api_says_that_the_database_is_away(
    author: User, fails_with: Callable[[Exception], None], error: Exception
) -> None:
    headers = bearer(author)
    fails_with(error)
    answer = Client().get(EXECUTIONS, headers=headers)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "3"
    assert answer.json()["code"] == "database_away"
    assert str(error) not in answer.content.decode()


@pytest.mark.parametrize("error", AWAY)
def test_a_page_says_that_the_database_is_away(
    author: User, fails_with: Callable[[Exception], None], error: Exception
) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(author)
    fails_with(error)
    answer = client.get(reverse("flow-list"))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "3"
    assert "The database does not answer" in answer.content.decode()
    assert str(error) not in answer.content.decode()


@pytest.mark.parametrize("error", [IntegrityError("a fault"), DatabaseError("another"), RuntimeError("of the code")])
def test_other_faults_are_faults_of_the_server(
    author: User, fails_with: Callable[[Exception], None], error: Exception
) -> None:
    headers = bearer(author)
    fails_with(error)
    answer = Client(raise_request_exception=False).get(EXECUTIONS, headers=headers)
    assert answer.status_code == 500
    assert answer.json()["code"] == "server_error"


@pytest.mark.sqlite_only
def test_a_table_that_is_not_there_is_a_fault_of_the_server(
    author: User, fails_with: Callable[[Exception], None]
) -> None:
    headers = bearer(author)
    fails_with(OperationalError("no such table: executions_execution"))
    assert Client(raise_request_exception=False).get(EXECUTIONS, headers=headers).status_code == 500
