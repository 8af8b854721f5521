"""Reads the JSON body of an API request within limits: what is too big, too deep or not JSON is a clear 4xx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import orjson
from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.settings import api_settings

from flows.json_integers import integer_beyond_64_bits, shown_path

MAX_DEPTH = 100
"""Objects and lists inside each other. The encoder that writes what is stored ends at 254 levels."""


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "body_too_large"


class BoundedJSONParser(BaseParser):
    """JSON as RFC 8259 has it: no NaN, no lone surrogates; and no integer that would have to become a float.

    Raises ParseError and ValidationError (400), and BodyTooLarge (413).
    """

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
        refuse_large_integers(body)
        return value


def refuse_large_integers(body: bytes) -> None:
    """Raises ValidationError, by the field, for an integer beyond 64 bits: it would be stored as another number."""
    path = integer_beyond_64_bits(body)
    if path is not None:
        field = path[0] if path and isinstance(path[0], str) else api_settings.NON_FIELD_ERRORS_KEY
        place = f" at {shown_path(path)}" if path else ""
        message = f"The integer{place} does not fit in 64 bits. Send it as text."
        raise ValidationError({field: [message]}, code="integer_too_large")


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
