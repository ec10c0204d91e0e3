"""The partner over HTTP: one pooled client for both domains; every call ends as one of the eight replies.

Nothing raises out of here but `asyncio.CancelledError`. Neither a token nor a body nor an address with its query
(`find?name=...` carries a trader's name) is ever logged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlencode

import httpx

from worker.partner.classify import classify
from worker.partner.egress import Egress
from worker.partner.hosts import Addresses, redirected
from worker.partner.http_call import HttpCall
from worker.partner.lockout import LockOut
from worker.partner.single_reads import entities
from worker.partner.token import Token
from worker.replies import Answer, Domain, NotSent, Query, Reply, Silence

__all__ = ["Exchange", "PartnerClient", "Watch", "classify"]

SEND_LIMIT = 8 * 2**20
"""Bytes of an answer to a sending call: a hundred results with the longest errorText, all escaped, are 5 MB."""
READ_LIMIT = 64 * 2**20
"""Bytes of an answer to a reading call: `list` knows no paging, and an organization may have 100,000 accounts."""
KEEPALIVE_SECONDS = 4.0
"""Below the 5 s after which the most impatient common servers close an idle connection. A request that crosses
with such a close is lost without an answer, and we could not know whether it was carried out."""
CONNECT_SECONDS = 10.0
"""A lost packet of a handshake is sent again after 1, 3 and 7 s; a host that is silent for longer is away."""
CONNECTIONS = 64
"""More than the calls that any replica has in flight: nobody waits for the pool."""

Watch = Callable[[str, str, float, int | None, str | None], None]
"""Method, address without the query (which may name a trader), seconds, status if any came, name of what broke it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A reply, and the partner's clock (HTTP `Date`, whole seconds) when it answered with one."""

    reply: Reply
    date: datetime | None = None


class PartnerClient:
    """Calls to LIVE and DEMO. `timeout_seconds` bounds each call as a whole, from waiting for a connection to the
    answer's last byte. `transport` is the seam for tests; `clock` is monotonic seconds.

    `egress`: the proxy and the certificates that are trusted; without it no proxy, and the machine's own authorities.
    `lockout` remembers a 423 or 429 from the moment at which it is received, and keeps this client silent.
    `watch` gets each call when it has ended.
    """

    def __init__(
        self,
        addresses: Addresses,
        timeout_seconds: float,
        *,
        lockout: LockOut | None = None,
        egress: Egress | None = None,
        watch: Watch = lambda *_: None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # httpx logs every request's address at INFO, and the query of `find` is a person's name.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._addresses = addresses
        self._lockout = lockout
        self._watch = watch
        self._timeout = timeout_seconds
        self._clock = clock
        self._traced = transport is None or isinstance(transport, httpx.AsyncHTTPTransport)
        self._client = httpx.AsyncClient(
            **({"transport": transport} if transport is not None else (egress or Egress.of()).client_options()),
            # The call is bounded as a whole, since phases alone never end if a server drips. The handshakes (TCP, TLS)
            # have bounds of their own that end first: a TLS handshake that is cancelled from outside leaks its socket.
            timeout=httpx.Timeout(None, connect=min(CONNECT_SECONDS, 0.45 * timeout_seconds)),
            limits=httpx.Limits(
                max_connections=CONNECTIONS,
                max_keepalive_connections=CONNECTIONS,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
            follow_redirects=False,  # the token goes only where `hosts` says
            trust_env=False,  # a proxy or .netrc of the machine must not see or change the credentials
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # the session is the token, nothing else
            headers={"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "tradovate-worker"},
        )

    @property
    def addresses(self) -> Addresses:
        """The addresses of the settings, and what may replace their hosts."""
        return self._addresses

    @property
    def lockout(self) -> LockOut | None:
        """What remembers a lock-out that the ledger may not know yet."""
        return self._lockout

    @property
    def timeout_seconds(self) -> float:
        """The longest that a call takes."""
        return self._timeout

    async def post(
        self,
        domain: Domain,
        path: str,
        body: bytes,
        *,
        token: Token,
        send_before: float | None = None,
        reading: bool = False,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        """POSTs `body` (JSON) to the token's host. `send_before` (of `clock`): when it has passed before the first byte
        is written, the reply is `NotSent`. `reading` for endpoints that only read (getAccountTradingPermissions and
        the like). `on_sent` is called when the last byte has left, if it does.
        """
        exchange = await self.exchange(
            "POST",
            domain,
            path,
            body=body,
            bearer=token.value,
            host=token.hosts.get(domain),
            send_before=send_before,
            reading=reading,
            on_sent=on_sent,
        )
        return _as_documented(path, exchange.reply) if reading else exchange.reply

    async def get(
        self,
        domain: Domain,
        path: str,
        query: Mapping[str, Query] | None = None,
        *,
        token: Token,
        send_before: float | None = None,
    ) -> Reply:
        """GETs from the token's host. Null, an empty body and a list are answers too; an empty 404 may mean that there
        is none.
        """
        exchange = await self.exchange(
            "GET",
            domain,
            path,
            query=query,
            bearer=token.value,
            host=token.hosts.get(domain),
            send_before=send_before,
            reading=True,
        )
        return _as_documented(path, exchange.reply)

    async def exchange(
        self,
        method: str,
        domain: Domain,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, Query] | None = None,
        bearer: str | None,
        host: str | None,
        send_before: float | None = None,
        reading: bool,
        locks_out: bool = True,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Exchange:
        """One call to `host` (None: the configured one), with the partner's clock beside the reply.

        Not `locks_out`: a 423 or 429 to this call does not lock out (README, "What happens when": the renewal after a
        lock-out).
        """
        call = HttpCall(READ_LIMIT if reading else SEND_LIMIT, send_before, self._clock, self._lockout, on_sent)
        url = self._addresses.base(domain, host).rstrip("/") + "/" + path.lstrip("/")
        began = self._clock()
        broken: str | None = asyncio.CancelledError.__name__
        try:
            async with asyncio.timeout(self._timeout):
                call.check()
                request = self._request(method, url, body=body, query=query, bearer=bearer)
                request.extensions["trace"] = call.trace
                await call.read(await self._client.send(request, stream=True))
            broken = None
        except Exception as error:  # noqa: BLE001 - whatever the wire does has a name here, nothing is swallowed
            broken = None if call.complete else call.fault(error)
            if not call.complete:
                return Exchange(call.reply(error, self._timeout, traced=self._traced))
        finally:
            if call.held_back is None:
                self._watch(method, url, self._clock() - began, call.status, broken)
        if call.status == 407:
            return Exchange(NotSent("the proxy wants a user and password: see TRADOVATE_PROXY_URL", unreachable=True))
        leads_to = redirected(url, call.location)
        reply = classify(call.status or 0, bytes(call.body), reading=reading, leads_to=leads_to)
        if isinstance(reply, Silence) and locks_out and self._lockout is not None:
            self._lockout.received(reply.status)
        return Exchange(reply, call.date)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    def _request(
        self, method: str, url: str, *, body: bytes | None, query: Mapping[str, Query] | None, bearer: str | None
    ) -> httpx.Request:
        if query:
            url += "?" + urlencode(query, safe=",")  # `ids=1,2` is the documented form
        headers = {}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._client.build_request(method, url, content=body, headers=headers)


def _as_documented(path: str, reply: Reply) -> Reply:
    """The reply to a read; an answer says whether it has the documented form."""
    if isinstance(reply, Answer) and entities(path, reply.body) is None:
        return replace(reply, documented=False)
    return reply
