"""Address and scheme of the client of a request that came through reverse proxies.

`X-Forwarded-For` and `X-Forwarded-Proto` may be sent by any client, so they are believed only from a trusted proxy, and
only as far as trusted proxies have written them. Each proxy appends the address that it was called from. So the list is
read from its end, and the first address that is not a trusted proxy's is the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from worker.addresses import Network

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """ASGI middleware: the application sees the client and the scheme that it used."""

    app: ASGIApp
    networks: Sequence[Network]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] == "http" and scope.get("client") is not None:
            host, port = scope["client"]
            headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
            asked = [value for name, value in headers if name == b"x-forwarded-for"]
            schemes = [value for name, value in headers if name == b"x-forwarded-proto"]
            client, scheme = client_of(host, _listed(asked), _listed(schemes), self.networks)
            scope = {**scope, "client": (client, port if client == host else 0), "scheme": scheme or scope["scheme"]}
        await self.app(scope, receive, send)


def client_of(
    peer: str, addresses: Sequence[str], schemes: Sequence[str], networks: Sequence[Network]
) -> tuple[str, str | None]:
    """The client's address and scheme (None: that of the connection), as `peer` reports them if it is trusted.

    What is no address ends the list: the proxy that reported it counts as the client.
    """
    here = _read(peer)
    if here is None:
        return peer, None
    hops = 0
    for text in reversed(addresses):
        before = _read(text) if _trusted(here, networks) else None
        if before is None:
            break
        here, hops = before, hops + 1
    if not _trusted(_read(peer), networks) or not schemes:
        return str(here), None
    # One scheme for each address, or one that the proxy before the client has set and the others have passed on.
    scheme = schemes[-min(max(hops, 1), len(schemes))].lower()
    return str(here), scheme if scheme in ("http", "https") else None


def _trusted(address: Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def _listed(values: Sequence[str]) -> list[str]:
    return [each.strip() for value in values for each in value.split(",")]


def _read(text: str) -> Address | None:
    """An address, with or without a port: `10.0.0.1`, `10.0.0.1:1234`, `::1`, `[::1]`, `[::1]:1234`."""
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        found = ip_address(host)
    except ValueError:
        return None
    # A socket that listens on both families names an IPv4 client as ::ffff:10.0.0.1.
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
