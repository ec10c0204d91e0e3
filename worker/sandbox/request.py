"""A call as it came to the simulated partner: what is read of it before anything is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from worker.sandbox.limits import strip_ticket
from worker.sandbox.operation import Domain

if TYPE_CHECKING:
    from worker.sandbox.served_hosts import Arrival
    from worker.sandbox.socket_connection import SocketConnection

_BATCH_FIELDS = ("users", "accounts", "tradingPermissionIds", "userIds", "accountIds", "items")


@dataclass(frozen=True, slots=True)
class Request:
    """One call as it came. `path` is in lower case; `connection` is the socket that it came on."""

    domain: Domain
    path: str
    query: dict[str, str] = field(default_factory=dict)
    raw_query: bytes = b""
    body: bytes = b""
    bearer: str | None = None
    subnet: str = "127.0.0"
    via: str = "http"
    connection: SocketConnection | None = None
    arrival: Arrival | None = None


def body_of(raw_body: bytes) -> dict[str, Any] | None:
    """Return the object in a body; {} for none, None for anything else."""
    if not raw_body.strip():
        return {}
    try:
        body = orjson.loads(raw_body)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def items_of(body: dict[str, Any] | None) -> int:
    """Return how many items a body has."""
    for name in _BATCH_FIELDS:
        items = (body or {}).get(name)
        if isinstance(items, list):
            return len(items)
    return 1


def ticket_of(request: Request) -> tuple[str | None, bytes]:
    """Return the ticket that a call brings, and its bytes without it. Without a body, the query may bring it."""
    if b'"p-ticket"' in request.body:
        return strip_ticket(request.body)
    if request.body or b"p-ticket=" not in request.raw_query:
        return None, request.body or request.raw_query
    parts = request.raw_query.split(b"&")
    return request.query.get("p-ticket"), b"&".join(part for part in parts if not part.startswith(b"p-ticket="))
