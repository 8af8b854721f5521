"""The bytes of the stream: what a client of the standard makes of them, wherever they are cut."""

from __future__ import annotations

import orjson
import pytest
from httpx_sse._decoders import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st

from executions.events import EventType
from executions.sse import KEEP_ALIVE, LARGEST_SEQ, RETRY, encode, parse_last_event_id


def delivered(stream: bytes) -> list[tuple[str, str]]:
    """Return (id, data) of each message that httpx-sse delivers; a line counts when it has ended."""
    decoder = SSEDecoder()
    lines = stream.decode(errors="replace").split("\n")[:-1]
    messages = [decoder.decode(line) for line in lines]
    return [(message.id, message.data) for message in messages if message is not None]


def adopted_id(stream: bytes) -> int:
    """Return the id that the most eager client resumes behind: it adopts an id when its line has ended."""
    ids = [line[4:] for line in stream.split(b"\n")[:-1] if line.startswith(b"id: ")]
    return int(ids[-1]) if ids else 0


def test_a_frame_is_one_data_line_then_its_id() -> None:
    frame = encode(7, EventType.EXECUTION_FINISHED, b'{"status":"success"}')
    assert frame == b'data: {"type":"executionFinished","data":{"status":"success"}}\nid: 7\n\n'


@given(
    st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none()),
    st.integers(1, LARGEST_SEQ),
)
def test_any_json_survives_the_frame(data: dict[str, object], seq: int) -> None:
    ((identifier, message),) = delivered(encode(seq, EventType.NODE_AFTER, orjson.dumps(data)))
    assert identifier == str(seq)
    assert orjson.loads(message) == {"type": "nodeExecutionAfter", "data": data}


@pytest.mark.parametrize("line_break", [b"\n", b"\r", b"\r\n"])
def test_data_with_a_line_break_is_refused(line_break: bytes) -> None:
    with pytest.raises(ValueError, match="event 3"):
        encode(3, EventType.NODE_AFTER, b"{" + line_break + b"}")


FIRST = encode(1, EventType.EXECUTION_STARTED, b"{}")
SECOND = encode(2, EventType.EXECUTION_FINISHED, b"{}")


@pytest.mark.parametrize(
    ("stream", "ids"),
    [
        (b"", []),
        (RETRY, []),
        (RETRY + KEEP_ALIVE + KEEP_ALIVE, []),
        (RETRY + FIRST, ["1"]),
        (FIRST + SECOND, ["1", "2"]),
        (RETRY + KEEP_ALIVE + FIRST + KEEP_ALIVE + KEEP_ALIVE + SECOND + KEEP_ALIVE, ["1", "2"]),
    ],
)
def test_only_events_are_delivered(stream: bytes, ids: list[str]) -> None:
    messages = delivered(stream)
    assert [identifier for identifier, _ in messages] == ids
    assert all(data for _, data in messages)


def test_a_stream_cut_at_any_byte_resumes_without_gap_or_repetition() -> None:
    frames = [encode(seq, EventType.NODE_PROGRESS, b'{"text":"\xc3\xa4"}') for seq in range(1, 6)]
    whole = RETRY + KEEP_ALIVE.join(frames)
    for cut in range(len(whole) + 1):
        first = whole[:cut]
        seen = [int(identifier) for identifier, _ in delivered(first)]
        # A client that has read the id line but not the empty line has not delivered; those that adopt the id there
        # must hold the data already: the line before it has ended.
        after = adopted_id(first)
        complete = [seq for seq, frame in enumerate(frames, 1) if frame.split(b"\n")[0] + b"\n" in first]
        assert after in (0, *complete) and len(seen) <= after <= len(complete)
        rest = [int(identifier) for identifier, _ in delivered(RETRY + b"".join(frames[len(seen) :]))]
        assert seen + rest == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("value", "seq"), [("0", 0), ("17", 17), (" 17 ", 17), (str(LARGEST_SEQ), LARGEST_SEQ)])
def test_a_last_event_id_is_a_number(value: str, seq: int) -> None:
    assert parse_last_event_id(value) == seq


@pytest.mark.parametrize("value", ["", " ", "-1", "+1", "1.0", "1e3", "0x1", "abc", "1 2", "1_000", "²", "٣", "null"])
def test_a_last_event_id_that_is_not_a_whole_number_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        parse_last_event_id(value)


@pytest.mark.parametrize("value", [str(LARGEST_SEQ + 1), "9" * 100_000])
def test_a_last_event_id_beyond_any_stream_is_refused_in_few_words(value: str) -> None:
    with pytest.raises(ValueError, match="larger than any id") as raised:
        parse_last_event_id(value)
    assert len(str(raised.value)) < 150
