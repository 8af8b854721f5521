"""The bytes of a run's event stream: frames, keep-alives, and the id a client resumes behind. Pure.

Source of the rules: the HTML standard, section 9.2 "Server-sent events"
(https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

RETRY = b"retry: 2000\n"
"""The first bytes of every stream: reconnect after 2,000 ms.

No empty line behind it: the standard (9.2.6) obeys the field when its line has ended, and an empty line would make
some clients deliver an empty message.
"""

KEEP_ALIVE = b": keep-alive\n"
"""A comment, sent between frames when there is nothing else to send.

One newline only: an empty line behind it dispatches, and some clients deliver an empty message then.
"""

MEDIA_TYPE = "text/event-stream"

LARGEST_SEQ = 2**63 - 1
"""The largest number that the journal can hold."""


def encode(seq: int, type: str, data: bytes) -> bytes:
    """Return the frame of one event.

    `type` is a value of `EventType`, `data` is JSON without line breaks. There is no `event:` line, so that
    `EventSource.onmessage` sees every type. The id comes last: some clients adopt an id as soon as its line ends, and
    one that was cut off behind it would resume after an event that it never delivered.

    Raises ValueError for data with a line break, which would end the frame's `data:` line in the middle.
    """
    if b"\n" in data or b"\r" in data:
        raise ValueError(f"The data of event {seq} has a line break outside of its strings; encode it as compact JSON.")
    return b'data: {"type":"%b","data":%b}\nid: %d\n\n' % (type.encode(), data, seq)


def parse_last_event_id(value: str) -> int:
    """Return the seq of the last event that a client has seen: 0 or more, 0 for none.

    `value` is what the header `Last-Event-ID` or the parameter `after` holds. Raises ValueError with a message for
    the client when it is not a number that a stream can have sent.
    """
    digits = value.strip()
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"The last event id must be a whole number, 0 or more; it was {_shortened(value)}.")
    if len(digits) > len(str(LARGEST_SEQ)) or int(digits) > LARGEST_SEQ:
        raise ValueError(f"The last event id is larger than any id that a stream can have: {_shortened(value)}.")
    return int(digits)


def _shortened(value: str, limit: int = 40) -> str:
    """Return `value` quoted, without what is behind its first `limit` characters."""
    return repr(value if len(value) <= limit else value[:limit] + "...")
