"""What the lists of runs and of node executions show alike: short ids, statuses, times, durations."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.utils.html import format_html
from django.utils.safestring import SafeString

from executions.durations import format_duration
from executions.events import duration_ms, iso
from executions.statuses import RunStatus

SHORT_ID = 13
"""Characters of a UUIDv7: the milliseconds of its time."""

_SIGNS = {RunStatus.PAUSED.value: "waiting", RunStatus.PAUSING.value: "waiting"}


def short_id(execution_id: UUID) -> str:
    return str(execution_id)[:SHORT_ID]


def id_column(execution_id: UUID) -> SafeString:
    return format_html('<code class="wo-id" title="{}">{}</code>', execution_id, short_id(execution_id))


def status_chip(status: str) -> SafeString:
    """A status with its sign; the page holds the signs of `flows/_signs.html`."""
    return format_html(
        '<span class="wo"><span class="wo-chip" data-status="{0}"><svg class="sign" viewBox="0 0 16 16" width="12" '
        'height="12" aria-hidden="true"><use href="#wo-sign-{1}"/></svg><span>{0}</span></span></span>',
        status,
        _SIGNS.get(status, status),
    )


def time_column(moment: datetime | None) -> SafeString | str:
    """To the second, in UTC; the whole of it as a title."""
    if moment is None:
        return ""
    day, time = moment.strftime("%Y-%m-%d"), moment.strftime("%H:%M:%S")
    return format_html(
        '<time datetime="{0}" title="{0}"><span>{1}</span> <span>{2}</span></time>', iso(moment), day, time
    )


def duration_column(started_at: datetime | None, finished_at: datetime | None) -> str:
    """Empty for what has not ended."""
    return format_duration(duration_ms(started_at, finished_at)) if started_at and finished_at else ""
