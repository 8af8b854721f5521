"""A process that ends while a node runs: what fails because the process ends is not the node's failure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User

from executions import runtime
from executions.dispatch import start_execution
from executions.models import Execution, Mode
from tests.integration.execution_data import chain_of, journal_of, make_flow
from tests.integration.flow_data import make_user
from tests.integration.test_worker import Nowhere
from tests.servers import PROJECT
from tests.services import test_environment as environment_of_tests

SCRIPT = """
import sys, threading, time, uuid
import django
django.setup()
from django.db import transaction
from executions import runtime
from executions.models import ExecutionEvent
with transaction.atomic():
    runtime.executor().enqueue(uuid.UUID(sys.argv[1]))
while not ExecutionEvent.objects.filter(execution=sys.argv[1], type="nodeExecutionBefore", data__contains='"n0"'):
    time.sleep(0.01)
# The interpreter waits for it; until then the executor's thread goes on, and pools of threads are closed.
threading.Thread(target=time.sleep, args=(2,)).start()
"""


@pytest.fixture(autouse=True)
def no_executor_here(transactional_db: None) -> Iterator[None]:
    runtime.use(Nowhere())
    yield
    runtime.shutdown()


def test_a_node_that_fails_because_its_process_ends_is_left_to_the_next_one() -> None:
    author: User = make_user("author")
    # Reading a file needs a thread.
    graph = chain_of(("delay", {"seconds": 0.7}), ("demo.read_csv", {"file": "sales.csv"}))
    run = start_execution(make_flow(author, graph), input_data={}, requester=author, mode=Mode.API)
    command = [sys.executable, "-c", SCRIPT, str(run.pk)]
    variables = {**os.environ, **environment_of_tests(), "WATAOMI_EXECUTOR": "embedded"}
    ended = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert "cannot schedule new futures" in ended.stderr, "else the node was not hit, and this proves nothing"
    assert Execution.objects.get(pk=run.pk).status == "running"
    assert [data["nodeId"] for _, name, data in journal_of(run.pk) if name == "nodeExecutionAfter"] == ["start"]
