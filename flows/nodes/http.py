"""The node type that calls HTTP services."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from django import forms

from flows import conf
from flows.context import Item, Items, NodeContext, NodeError
from flows.node_types import NodeType, register
from flows.nodes.addresses import GuardedTransport
from flows.param_fields import BooleanField, ChoiceField, JSONField, NumberField, TextField, TextObjectField

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
SAFE_METHODS = frozenset({"GET", "HEAD"})
"""RFC 9110, 9.2.1: these change nothing at the server, so several may be under way at once."""

MAX_REDIRECTS = 5
CONCURRENT_REQUESTS = 8
EXCERPT = 300
"""Characters of an answer that are shown in an error."""


@register
class HTTPRequest(NodeType):
    """Sends one request for each item; delivers status, headers and body of each answer."""

    name = "http"
    label = "HTTP request"
    group = "Network"
    icon = "globe"
    summary = "url"

    class Params(forms.Form):
        method = ChoiceField(choices=[(method, method) for method in METHODS], initial="GET")
        url = TextField(label="URL", max_length=8000)
        headers = TextObjectField(required=False, help_text='An object: {"Accept": "application/json"}')
        query = TextObjectField(required=False, lists=True, help_text="An object; added to the query of the URL.")
        body = JSONField(required=False, help_text="A list or an object is sent as JSON, text as it is.")
        timeout = NumberField(
            min_value=0.1, max_value=600, initial=30, label="Time-out", help_text="Seconds a request."
        )
        accept_errors = BooleanField(
            label="Accept error statuses", help_text="On: an answer of 400 and above is an item and not an error."
        )

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        params = await ctx.params_for()
        requests = [
            Request.of(param, _idempotency_key(ctx.idempotency_key, index)) for index, param in enumerate(params)
        ]
        at_once = CONCURRENT_REQUESTS if all(request.method in SAFE_METHODS for request in requests) else 1
        transport = GuardedTransport(allow_private=conf.http_allow_private())
        async with httpx.AsyncClient(
            transport=transport, trust_env=False, follow_redirects=True, max_redirects=MAX_REDIRECTS
        ) as client:
            return await _all_answers(client, requests, at_once, ctx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one item asks for; `timeout` is seconds from the look-up of the host to the last byte of the answer."""

    method: str
    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str | list[str]]
    content: bytes | None
    timeout: float
    accept_errors: bool

    @classmethod
    def of(cls, params: Mapping[str, Any], idempotency_key: str) -> Request:
        """The request of cleaned parameters. The headers they give win over those that follow from the rest."""
        content, content_type = encoded(params["body"])
        headers = {"User-Agent": "WataOmi", **({"Content-Type": content_type} if content_type else {})}
        if params["method"] not in SAFE_METHODS:
            headers["Idempotency-Key"] = idempotency_key
        given = {name.lower() for name in params["headers"]}
        headers = {name: value for name, value in headers.items() if name.lower() not in given} | params["headers"]
        return cls(
            method=params["method"],
            url=params["url"],
            headers=headers,
            query=params["query"],
            content=content,
            timeout=params["timeout"],
            accept_errors=params["accept_errors"],
        )

    @property
    def shown(self) -> str:
        """Method and URL for messages, without user, password and query: they may be secret."""
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            return f"{self.method} {self.url[:100]}"
        port = f":{url.port}" if url.port else ""
        return f"{self.method} {url.scheme}://{url.host}{port}{url.path}" if url.host else f"{self.method} {url.path}"


async def _all_answers(
    client: httpx.AsyncClient, requests: list[Request], at_once: int, ctx: NodeContext
) -> list[Item]:
    """The answers in the order of the requests. The first failure ends those under way and starts no other."""
    places = asyncio.Semaphore(at_once)
    done = 0

    async def answer(index: int, request: Request) -> Item:
        nonlocal done
        async with places:
            item = await _answer(client, request, index)
        done += 1
        if len(requests) > 1:
            await ctx.progress(done / len(requests), f"{done} of {len(requests)} requests")
        return item

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(index, request)) for index, request in enumerate(requests)]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def _answer(client: httpx.AsyncClient, request: Request, index: int) -> Item:
    """Raises NodeError, which names the request and its item, for whatever goes wrong."""
    where = f"Item {index}: {request.shown}"
    try:
        async with asyncio.timeout(request.timeout):
            return await _sent(client, request, where)
    except NodeError as error:
        if error.message.startswith(where):
            raise
        raise NodeError(f"{where}: {error.message}", hint=error.hint, type=error.type) from None
    except TimeoutError:
        raise NodeError(
            f"{where} was not answered within {request.timeout:g} s.",
            hint="Raise the time-out, or give the node a retry.",
            type="Timeout",
        ) from None
    except httpx.TooManyRedirects:
        raise NodeError(
            f"{where} was redirected more than {MAX_REDIRECTS} times.", hint="Give the last URL.", type="HTTPError"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise NodeError(
            f"{where} failed: {error or type(error).__name__}.",
            hint="Look at the URL and the headers, and whether the service can be reached.",
            type="HTTPError",
        ) from error


async def _sent(client: httpx.AsyncClient, request: Request, where: str) -> Item:
    url = httpx.URL(request.url)
    if url.scheme not in {"http", "https"} or not url.host:
        raise NodeError(
            f"{where}: the URL must start with http:// or https:// and a host.",
            hint="Write it in full, such as https://example.com/path.",
            type="BadURL",
        )
    if request.query:
        url = url.copy_merge_params(request.query)
    async with client.stream(
        request.method, url, headers=request.headers, content=request.content, timeout=request.timeout
    ) as response:
        content = await _content(response, where)
    item = {"status": response.status_code, "headers": dict(response.headers), "body": decoded(response, content)}
    if response.status_code >= 400 and not request.accept_errors:
        excerpt = content[:EXCERPT].decode(errors="replace").strip()
        raise NodeError(
            f"{where} was answered {response.status_code} {response.reason_phrase}".rstrip() + ".",
            hint=f"The service says: {excerpt}" if excerpt else "The service says no more than that.",
            type="HTTPStatus",
        )
    return item


async def _content(response: httpx.Response, where: str) -> bytes:
    """The body, decompressed. Raises NodeError beyond the limit, before it is all there."""
    limit = conf.http_megabytes() * 1024 * 1024
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > limit:
            raise NodeError(
                f"{where} was answered with more than {conf.http_megabytes()} MB.",
                hint="Ask for less at a time, for example by pages; WATAOMI_HTTP_MEGABYTES is the limit.",
                type="ResponseTooLarge",
            )
        chunks.append(chunk)
    return b"".join(chunks)


def encoded(body: Any) -> tuple[bytes | None, str]:
    """The bytes of a body and their content type: text as it is, any other JSON value as JSON, null as no body."""
    if body is None or body == "":
        return None, ""
    if not isinstance(body, str):
        return orjson.dumps(body), "application/json"
    content = body.encode()
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return content, "text/plain; charset=utf-8"
    return content, "application/json"


def decoded(response: httpx.Response, content: bytes) -> Any:
    """A body as JSON, as text, or, when it is neither, as {"base64": ...}; null when it is empty."""
    if not content:
        return None
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type.endswith(("/json", "+json")):
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            pass  # text that claims to be JSON is still worth having
    try:
        text = content.decode(response.charset_encoding or "utf-8")
    except (UnicodeDecodeError, LookupError):
        return {"base64": base64.b64encode(content).decode()}
    return text


def _idempotency_key(key: str, index: int) -> str:
    """A key of its own for each item: with one for all, a service would take the second item for a repeated first."""
    return f"{key}-{index}" if index else key
