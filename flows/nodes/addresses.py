"""Which network addresses a node may reach, and a transport for httpx that reaches no others.

A name is resolved once, its addresses are checked, and the connection goes to a checked address: a name whose answer
changes between check and connection (DNS rebinding) gains nothing. Redirects pass through here as every request does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import defaultdict
from functools import lru_cache

import httpx

from flows.context import NodeError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Connected = tuple[list[str], httpx.AsyncHTTPTransport]
"""The addresses of a host that may be reached, and its connections."""

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: an IPv6 address whose last 32 bits are the IPv4 address that is reached."""


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, also when it is an IPv4 address inside an IPv6 one."""
    ip: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in NAT64:
            embedded.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        inner = [part for part in embedded if part is not None]
        if inner:
            return all(is_public(str(part)) for part in inner)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


async def addresses_of(host: str, port: int) -> list[str]:
    """The addresses of a host, in the resolver's order. Raises NodeError when the name has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NodeError(
            f"The host {host} is not known.", hint="Look at the spelling of the URL.", type="UnknownHost"
        ) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Verifies certificates and host names. Made once: it reads a file of 300 KB."""
    return httpx.create_ssl_context(trust_env=False)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests over HTTP/1.1 to the addresses it has checked; several requests to one host share connections.

    Raises NodeError for a host it may not reach, and httpx's errors.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        # By name and not by address: two names that share an address must not share a TLS connection.
        self._hosts: dict[tuple[str, int], Connected] = {}
        self._adding: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        if not 0 < port < 65536:
            raise httpx.ConnectError(f"there is no port {port}")
        async with self._adding[host, port]:
            if (host, port) not in self._hosts:
                self._hosts[host, port] = await self._connected(request.url.scheme, host, port)
        addresses, transport = self._hosts[host, port]
        for address in list(addresses):
            try:
                response = await transport.handle_async_request(_pinned(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == addresses[-1]:
                    raise
            else:
                addresses[:] = [address]
                return response
        raise httpx.ConnectError(f"{host} has no address")

    async def aclose(self) -> None:
        for _, transport in self._hosts.values():
            await transport.aclose()

    async def _connected(self, scheme: str, host: str, port: int) -> Connected:
        addresses = await addresses_of(host, port)
        allowed = [address for address in addresses if self._allow_private or is_public(address)]
        if not allowed:
            raise NodeError(
                f"The host {host} has the address {', '.join(addresses)}, which is not on the public internet.",
                hint="Whoever runs this server can allow such addresses with WATAOMI_HTTP_ALLOW_PRIVATE=1.",
                type="ForbiddenAddress",
            )
        verify: ssl.SSLContext | bool = await asyncio.to_thread(tls_context) if scheme == "https" else False
        return allowed, httpx.AsyncHTTPTransport(verify=verify, trust_env=False)


def _pinned(request: httpx.Request, address: str) -> httpx.Request:
    """The request with an address for its host; the Host header, and the name the certificate must have, stay."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )
