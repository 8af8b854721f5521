"""Reads the JSON body of an API request within limits: what is too big, too deep or not JSON is a clear 4xx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import orjson
from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

MAX_DEPTH = 100
"""Objects and lists inside each other. The encoder that writes what is stored ends at 254 levels."""


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "body_too_large"


class BoundedJSONParser(BaseParser):
    """JSON as RFC 8259 has it: no NaN, no lone surrogates. Raises ParseError (400) and BodyTooLarge (413)."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        # One byte more than may be there tells whether there is more, without reading it.
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise BodyTooLarge(f"The body is larger than {limit} bytes.")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"The body is not JSON: {error}.", code="malformed_json") from error
        if depth_exceeds(value, MAX_DEPTH):
            raise ParseError(f"The body is nested deeper than {MAX_DEPTH} levels.", code="nested_too_deep")
        return value


def depth_exceeds(value: object, limit: int) -> bool:
    """Whether lists and objects lie in each other more than `limit` levels deep. Level by level, never recursing."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
