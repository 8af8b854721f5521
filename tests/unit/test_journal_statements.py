"""How many rows of the journal go into one statement."""

from __future__ import annotations

import pytest

from executions.journal.statements import MAX_PARAMETERS, _chunks


def rows_of(count: int, columns: int) -> list[tuple[int, ...]]:
    return [(number,) * columns for number in range(count)]


@pytest.mark.parametrize("columns", [5, 12])
@pytest.mark.parametrize("count", [0, 1, 7, 32, 33, 100, 5_000, 7_000])
def test_all_rows_in_order_within_the_limit_of_a_statement(count: int, columns: int) -> None:
    chunks = list(_chunks(rows_of(count, columns)))
    assert [row for chunk in chunks for row in chunk] == rows_of(count, columns)
    assert all(len(chunk) * columns <= MAX_PARAMETERS for chunk in chunks)


def test_few_rows_are_one_statement() -> None:
    assert all(len(list(_chunks(rows_of(count, 5)))) == 1 for count in range(1, 33))


def test_batches_of_every_length_make_few_different_statements_of_few_rows_in_all() -> None:
    """The connection keeps each of them, with the memory of its rows."""
    lengths = {len(chunk) for count in range(5_001) for chunk in _chunks(rows_of(count, 5))}
    assert len(lengths) < 50
    assert sum(lengths) < 10_000
