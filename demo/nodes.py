"""A node type of an app's own: it reads a CSV file that ships with the demo."""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import Iterator
from pathlib import Path

from django import forms

from flows.context import Items, NodeContext, NodeError
from flows.node_types import NodeType, register

DATA = Path(__file__).parent / "data"

NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")
"""A number that is written the same way when it is turned back into text: 007 and 1e5 stay text."""


def files() -> Iterator[tuple[str, str]]:
    """The files there are to choose from; no other can be named."""
    return ((path.name, path.name) for path in sorted(DATA.glob("*.csv")))


@register
class ReadCsv(NodeType):
    """Reads a CSV file of the demo: one item for each row, with a field for each column; numbers become numbers."""

    name = "read_csv"
    label = "Read CSV"
    group = "Data"
    icon = "table"
    summary = "file"

    class Params(forms.Form):
        file = forms.ChoiceField(choices=files)
        limit = forms.IntegerField(
            required=False, min_value=1, label="Rows at most", help_text="Left empty: the whole file."
        )

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        return await asyncio.to_thread(read_rows, DATA / ctx.params["file"], ctx.params["limit"])


def read_rows(path: Path, limit: int | None = None) -> Items:
    """The rows of a CSV file with a header. Raises NodeError, which names the line, for a row too long or too short."""
    rows: Items = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            if limit is not None and len(rows) >= limit:
                break
            if None in row or None in row.values():
                expected = len(reader.fieldnames or ())
                raise NodeError(f"{path.name}, line {reader.line_num}: the row does not have {expected} cells.")
            rows.append({name: _value(cell) for name, cell in row.items()})
    return rows


def _value(cell: str) -> str | int | float:
    if not NUMBER.fullmatch(cell):
        return cell
    return float(cell) if "." in cell else int(cell)
