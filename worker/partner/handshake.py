"""The handshake of a WebSocket: to one host and no other, through the proxy of the settings, trusting what they trust.

The handshake carries no token, and no socket is opened by one that is refused: its response says nothing of the
session. A redirect of it is never followed here, for the host that a socket is open to receives the token next.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidProxyStatus, InvalidStatus
from websockets.http11 import Response

from worker.partner.classify import classify
from worker.partner.egress import tls_fault
from worker.partner.hosts import redirected
from worker.replies import Misdirected, NotSent, Reply, Silence, Unclear

__all__ = ["Dial", "NotConnected"]

_QUIET = logging.getLogger("worker.partner.socket.frames")
_QUIET.setLevel(logging.WARNING)  # at DEBUG the library logs each frame, and the first one is the token

CONNECT_SECONDS = 5.0
"""A handshake takes milliseconds; a standby that takes over has fifteen seconds for everything."""

CLOSE_SECONDS = 1.0
"""For the closing handshake, which nobody gains by waiting for."""

FRAME_LIMIT = 64 * 2**20
"""Bytes. An alert has some hundred. The risk statuses of a hundred thousand accounts, in one frame, have 30 million."""


@dataclass(frozen=True, slots=True)
class NotConnected:
    """No socket was opened. `reply`: what it means for all replicas; `said`: in short, for health."""

    reply: Reply
    said: str


class _ToOneHost(connect):
    """By default the library follows redirects to any host."""

    def process_redirect(self, exc: Exception) -> Exception:
        """A redirect is a response like any other."""
        return exc


@dataclass(frozen=True, slots=True)
class Dial:
    """`proxy`: the address of an egress proxy, which may hold its password; `trust`: None for what Python trusts."""

    proxy: str | None = field(default=None, repr=False)
    trust: ssl.SSLContext | None = None
    seconds: float = CONNECT_SECONDS

    async def connected(self, url: str) -> ClientConnection | NotConnected:
        """Connects to `url`; never raises but `asyncio.CancelledError`."""
        options: dict[str, Any] = {} if self.trust is None or not url.startswith("wss:") else {"ssl": self.trust}
        if self.trust is not None and (self.proxy or "").startswith("https:"):
            options["proxy_ssl"] = self.trust
        try:
            return await _ToOneHost(
                url,
                open_timeout=self.seconds,
                close_timeout=CLOSE_SECONDS,
                ping_interval=None,  # the protocol has heartbeats of its own, in both directions
                max_size=FRAME_LIMIT,
                compression=None,
                proxy=self.proxy,  # None: no proxy, for one of the environment must not see the token
                user_agent_header="tradovate-worker",
                logger=_QUIET,
                **options,
            )
        except InvalidStatus as refused:
            return _not_let_in(url, refused.response)
        except InvalidProxyStatus as refused:
            said = f"the proxy answered HTTP {refused.response.status_code}"
            return NotConnected(NotSent(said), said)
        except Exception as error:  # noqa: BLE001 - whatever the network or the library does has a name here
            said = tls_fault(error) or type(error).__name__
            return NotConnected(NotSent(f"no connection ({said})", unreachable=True), said)


def _not_let_in(url: str, response: Response) -> NotConnected:
    status = response.status_code
    # A redirect of a handshake names the new address with http or with ws. Of several of them none counts.
    locations = response.headers.get_all("Location")
    leads_to = redirected(_as_http(url), _as_http(locations[0])) if len(locations) == 1 else None
    reply = classify(status, bytes(response.body or b""), reading=True, leads_to=leads_to)
    said = f"HTTP {status}"
    if not isinstance(reply, Misdirected | Silence):
        # Answered is answered: it counts against the hour like any other call. It is no sign of a closed session, as
        # the same status of a call with a token would be.
        reply = Unclear(f"{said} to the handshake")
    return NotConnected(reply, said)


def _as_http(address: str) -> str:
    return f"http{address[2:]}" if address[:3] == "ws:" or address[:4] == "wss:" else address
