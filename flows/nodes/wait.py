"""The node type that waits for someone outside: an approval, an answer, a call from another system."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import forms

from flows.context import Items, NodeContext, NodeError, Ports, Suspend
from flows.node_types import NodeType, register
from flows.param_fields import ChoiceField, NumberField, TextField

UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 24 * 3600}

LONGEST_TIMEOUT = 366 * 24 * 3600
"""Seconds."""

RESUMED, TIMEOUT = "resumed", "timeout"


@register
class WaitForResume(NodeType):
    """Waits until someone resumes it: by its resume link (execution["resumeUrls"]["this node's name"]), on the run's
    page or by the API. What they send is set as a field of each item; if nobody does in time, the items go to timeout.
    """

    name = "wait_for_resume"
    label = "Wait for resume"
    group = "Flow"
    icon = "hand"
    outputs = (RESUMED, TIMEOUT)
    resumable = True

    class Params(forms.Form):
        timeout = NumberField(
            required=False, min_value=0, label="Time-out", help_text="How long to wait; empty: until it is resumed."
        )
        unit = ChoiceField(choices=[(unit, unit.capitalize()) for unit in UNITS], initial="hours")
        field = TextField(initial="resume", max_length=100, help_text="The field that gets what was sent.")

    async def run(self, ctx: NodeContext, items: Items) -> Ports:
        if ctx.resumption is None:
            raise Suspend(until=self._until(ctx), reason="to be resumed")
        if ctx.resumption.kind == "timeout":
            return {TIMEOUT: items}
        answer = dict(ctx.resumption.data or {})
        return {RESUMED: [{**item, ctx.params["field"]: answer} for item in items]}

    def _until(self, ctx: NodeContext) -> datetime | None:
        timeout: float | None = ctx.params["timeout"]
        if timeout is None:
            return None
        seconds = timeout * UNITS[ctx.params["unit"]]
        if seconds > LONGEST_TIMEOUT:
            most = LONGEST_TIMEOUT // UNITS["days"]
            raise NodeError(
                f"A time-out of {timeout:g} {ctx.params['unit']} is longer than {most} days.",
                hint="Leave it empty to wait until the node is resumed.",
                type="BadParameter",
            )
        return ctx.started_at + timedelta(seconds=seconds)
