"""Pages of runs, quick however many there are and however large their data is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.views import APIView

from flows.pagination import CursorPage


class ExecutionPage(CursorPage):
    """Finds the ids of a page first, along an index alone, and then reads its rows.

    In one query the database would read every row that it passes on its way to those of the page. Of 100,000 runs
    (440 MB), from a disk, seven that were started in a rare way took 10 s; so they take 40 ms.
    """

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        assert isinstance(queryset, QuerySet)
        found = super().paginate_queryset(queryset.select_related(None).only("pk"), request, view)
        rows = queryset.in_bulk([row.pk for row in found or ()])
        # A run that was deleted between the two queries is left out.
        return [rows[row.pk] for row in found or () if row.pk in rows]
