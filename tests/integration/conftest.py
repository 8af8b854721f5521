"""Fixtures of the integration tests."""

from collections.abc import Iterator

import pytest

from executions import runtime
from tests.integration.execution_data import executor  # noqa: F401
from tests.integration.scripted_nodes import scripts  # noqa: F401
from tests.integration.stream_server import stream_environment, stream_server  # noqa: F401


@pytest.fixture(autouse=True)
def nobody_looks_after_the_next_test() -> Iterator[None]:
    """An executor that a command or a request of a test has started ends with the test: it would go on to look for
    runs, in the database of the next one."""
    yield
    left = runtime._executor
    if isinstance(left, runtime.EmbeddedExecutor):
        runtime.use(None)
        left._call(left._serving.cancel)
        left._thread.join(5)
