"""Pages of the API's lists: by cursor, so that a page costs the same wherever it is in the list."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError as InvalidValue
from django.db.models import QuerySet
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView


class CursorPage(CursorPagination):
    """Newest first, 50 to a page; `?page_size=` asks for up to 200. A cursor or a size that is none is a 400."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    ordering = "-id"

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (InvalidValue, ValueError, TypeError) as error:
            # A cursor may be well-formed and yet hold a position that is not of the type it is compared with.
            raise _bad_cursor() from error

    def decode_cursor(self, request: Request) -> Cursor | None:
        try:
            return super().decode_cursor(request)
        except (NotFound, binascii.Error) as error:
            raise _bad_cursor() from error

    def get_page_size(self, request: Request) -> int | None:
        text = request.query_params.get(self.page_size_query_param)
        if text is not None and not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= self.max_page_size):
            raise ValidationError({self.page_size_query_param: [f"Give a number from 1 to {self.max_page_size}."]})
        return super().get_page_size(request)


def _bad_cursor() -> ValidationError:
    return ValidationError({"cursor": ["This is not a cursor of this list. Follow its `next` and `previous` links."]})
