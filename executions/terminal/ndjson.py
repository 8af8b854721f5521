"""A run as newline-delimited JSON: one event a line, exactly as the stream has it, and nothing else."""

from __future__ import annotations

from typing import TextIO

import orjson

from executions.events import Event
from executions.terminal.view import Heading


class NdjsonView:
    """`{"type", "data", "seq"}` lines on `output`; what is said beside the events goes to `messages`."""

    def __init__(self, output: TextIO, messages: TextIO) -> None:
        self._output = output
        self._messages = messages

    def begin(self, heading: Heading) -> None:
        """Each event has the run's id."""

    def show(self, event: Event) -> None:
        line = orjson.dumps({"type": event.type, "data": event.data, "seq": event.seq})
        self._output.write(line.decode() + "\n")
        self._output.flush()

    def say(self, text: str) -> None:
        print(text, file=self._messages, flush=True)

    def end(self) -> None:
        """There is nothing to put back."""

    def abandon(self) -> None:
        """There is nothing to put back."""
