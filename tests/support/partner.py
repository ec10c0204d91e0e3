"""A client of Tradovate's, for tests that need no settings: where it calls, and with which token."""

from __future__ import annotations

from datetime import UTC, datetime

from worker.partner.hosts import Addresses
from worker.partner.token import Token
from worker.replies import Domain

TOKEN = Token("tok", 1, datetime(2026, 11, 28, tzinfo=UTC), datetime(2026, 11, 29, tzinfo=UTC))


def addresses(live: str = "https://l/v1", demo: str = "https://d/v1", *trusted: str, follow: bool = True) -> Addresses:
    """REST bases of both domains; their sockets as the settings derive them."""
    rest = {Domain.LIVE: live, Domain.DEMO: demo}
    sockets = {domain: "ws" + url.removeprefix("http") + "/websocket" for domain, url in rest.items()}
    return Addresses(rest, sockets, trusted, follow=follow)
