"""Fixtures of the integration tests."""

from tests.integration.execution_data import executor  # noqa: F401
from tests.integration.scripted_nodes import scripts  # noqa: F401
from tests.integration.stream_server import stream_environment, stream_server  # noqa: F401
