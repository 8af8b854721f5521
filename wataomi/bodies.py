"""How the bodies of requests reach Django: with their length, however they were sent, and read by nobody before it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partialmethod
from typing import IO, Any

from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpResponseBase

CONTENT_LENGTH = b"content-length"


class BodyLengthHandler(ASGIHandler):
    """Django's, which says how long a body is that came in chunks (`Transfer-Encoding: chunked`, RFC 9112, 7.1).

    Such a request has no Content-Length, and Django REST framework takes that for no body at all: a PATCH would answer
    200 and change nothing. Here the body has been read, so its length is known.
    """

    def create_request(
        self, scope: Mapping[str, Any], body_file: IO[bytes]
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        if all(name != CONTENT_LENGTH for name, _ in scope["headers"]):
            body_file.seek(0, os.SEEK_END)
            length = body_file.tell()
            body_file.seek(0)
            if length:
                scope = {**scope, "headers": [*scope["headers"], (CONTENT_LENGTH, b"%d" % length)]}
        return super().create_request(scope, body_file)


def leave_forms_to_django() -> None:
    """Keep Twisted, under Daphne, from parsing forms, which nobody asks it for.

    It reads the whole of each into memory, and answers what it cannot parse itself: 400, without a word.
    """
    protocol = sys.modules.get("daphne.http_protocol")
    if protocol is not None:
        request = protocol.WebRequest
        request.__init__ = partialmethod(request.__init__, parsePOSTFormSubmission=False)
