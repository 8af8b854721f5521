"""Change lists of the admin that page by key: as quick on the last page of a million rows as on the first.

A page is what lies behind (or before) a primary key, read along its index: nothing is counted and nothing skipped, so
there are no page numbers, but an older and a newer page.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest

OLDER_THAN = "older"
NEWER_THAN = "newer"
"""Query parameters; their value is a primary key."""


class KeysetChangeList(ChangeList):
    """Newest first, by primary key alone. `older_url` and `newer_url` lead to the neighbours of the page shown."""

    older_url: str | None = None
    newer_url: str | None = None
    _key: Any = None
    _backwards = False

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        # Before filters and links see the parameters: with another filter, paging begins anew.
        self._take_key(request)
        queryset = super().get_queryset(request, exclude_parameters)
        only = getattr(self.model_admin, "list_only", None)
        return queryset.only(*only) if only else queryset

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-pk"]

    def get_results(self, request: HttpRequest) -> None:
        rows, more = self._page()
        if self._backwards and not more:
            # So near the top that the page would not be full: show the first one, and let it be full.
            self._key, self._backwards = None, False
            rows, more = self._page()
        self._link(rows, more)
        self.result_list = rows
        # The templates compare the two, and speak of a number of results where they differ.
        self.result_count = self.full_result_count = len(rows)
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        self.paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)

    def _take_key(self, request: HttpRequest) -> None:
        for parameter in (OLDER_THAN, NEWER_THAN):
            self.filter_params.pop(parameter, None)
            given = self.params.pop(parameter, None)
            if given is not None:
                self._key, self._backwards = self._clean(given), parameter == NEWER_THAN

    def _clean(self, given: str) -> Any:
        try:
            return self.model._meta.pk.to_python(given)
        except ValidationError as error:
            raise IncorrectLookupParameters(f"{given!r} is not a key.") from error

    def _page(self) -> tuple[list[Model], bool]:
        """The rows of the page, newest first, and whether there are more in the direction of paging."""
        queryset = self.queryset
        if self._key is not None:
            queryset = queryset.filter(**{"pk__gt" if self._backwards else "pk__lt": self._key})
        if self._backwards:
            queryset = queryset.order_by("pk")
        # Keys first, which an index alone can give, sorted if need be; then the rows of these few.
        found = list(queryset.values_list("pk", flat=True)[: self.list_per_page + 1])
        keys = sorted(found[: self.list_per_page], reverse=True)
        rows = {row.pk: row for row in self.queryset.filter(pk__in=keys).order_by()}
        return [rows[key] for key in keys if key in rows], len(found) > self.list_per_page

    def _link(self, rows: list[Model], more: bool) -> None:
        if not rows:
            self.newer_url = self.get_query_string() if self._key is not None else None
            return
        if self._backwards or more:
            self.older_url = self.get_query_string({OLDER_THAN: rows[-1].pk})
        if self._key is not None:
            self.newer_url = self.get_query_string({NEWER_THAN: rows[0].pk})
