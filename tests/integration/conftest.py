"""Fixtures of the integration tests."""

from tests.integration.stream_server import stream_environment, stream_server  # noqa: F401
