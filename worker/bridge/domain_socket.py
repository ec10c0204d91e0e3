"""One domain's socket, connected again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from worker.bridge.reconnect_delay import Reconnect
from worker.bridge.risk_feed import RiskFeed
from worker.bridge.signal_intake import SignalIntake
from worker.bridge.signal_requests import SocketCalls
from worker.ledger.database import DatabaseError
from worker.partner.handshake import Dial
from worker.partner.hosts import Addresses
from worker.partner.socket import Socket
from worker.partner.socket_actions import Alert, ConnectionEnd, EndReason
from worker.partner.socket_calls import HeldBack
from worker.partner.socket_protocol import SocketTiming
from worker.partner.token import Token
from worker.replies import Domain
from worker.telemetry.log_on_change import LastReported

log = structlog.get_logger()

MOVED_WITHIN = 1.0
"""Seconds between two looks at where the domain is; the token and its hosts are read every two."""

CATCHING_UP = "catching up"
"""What health says of a socket that listens while what was raised before is being fetched."""

SOON = 1.0
"""Seconds: the first step of the back-off, after which a line that was dropped usually listens again."""


@dataclass(slots=True)
class DomainSocket:
    """`changed` is called whenever the line begins or ceases to listen; `reconnects` with the reason of each end."""

    domain: Domain
    addresses: Addresses
    calls: SocketCalls
    intake: SignalIntake
    timing: SocketTiming = field(default_factory=SocketTiming)
    dial: Dial = field(default_factory=Dial)
    changed: Callable[[], None] = lambda: None
    reconnects: Callable[[EndReason], None] = lambda _reason: None
    risk: RiskFeed | None = None
    """Where risk statuses go, for the domain that is asked for them."""
    epoch: int = 0
    """Which connection it is: one more each time it begins to listen."""
    on_its_way: bool = True
    """Connecting, or about to."""
    is_listening: bool = False
    caught_up: bool = False
    """What was raised before this connection listened has been fetched."""
    last_end: ConnectionEnd | None = None
    _url: str | None = None
    _socket: Socket | None = None
    _reconnect: Reconnect = field(default_factory=Reconnect)
    _said: LastReported = field(default_factory=LastReported)

    @property
    def last_frame_seconds(self) -> float | None:
        """Seconds since a frame was last received on this connection; None without one."""
        return None if self._socket is None else max(0.0, time.monotonic() - self._socket.wire.last_received)

    @property
    def url(self) -> str | None:
        """Where it is connected, or tries to be."""
        return self._url if self._socket is None else self._socket.url

    @property
    def trouble(self) -> str | None:
        """Why it does not work, or None."""
        if self.is_listening:
            return None if self.caught_up else CATCHING_UP
        if self.last_end is None:
            return "connecting"
        said = f" ({self.last_end.said})" if self.last_end.said else ""
        return f"not connected: {self.last_end.reason}{said}"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self.last_end is not None and self.last_end.reason is EndReason.FULL:
                self._set_on_its_way(on_its_way=False)
                await self.intake.signed.wait_for_room()
            self._set_on_its_way(on_its_way=True)
            end = await self.run_once()
            wait = self._ended(end)
            self._set_on_its_way(on_its_way=wait <= SOON)
            if end.reason is EndReason.WRONG_HOST and self._reconnect.misplaced > 1:
                await self.calls.ask()  # a redirect of HTTP may say where the domain is
            await self._pause(wait)

    async def run_once(self) -> ConnectionEnd:
        """One connection, from its beginning to its end."""
        try:
            risk = self.risk is not None and self.risk.asks()
            self._socket = Socket(
                self._address, self.calls, self, self.calls.lockout, self.dial, self.timing, risk=risk
            )
            watching = asyncio.create_task(self._watch(self._socket))
            try:
                return await self._socket.run()
            finally:
                watching.cancel()
        except HeldBack as held:
            self._set_on_its_way(on_its_way=False)
            await asyncio.sleep(held.wait)
            return ConnectionEnd(EndReason.HELD_BACK, held.why)
        except DatabaseError as error:
            return ConnectionEnd(EndReason.LEDGER, error.reason)
        finally:
            if self._socket is not None:
                self._url = self._socket.url
            self._socket = None
            self.is_listening = self.caught_up = False

    async def _watch(self, socket: Socket) -> None:
        """Leaves a host when the domain has moved: its socket may stay open and bring nothing."""
        while True:
            await asyncio.sleep(MOVED_WITHIN)
            if self._moved_from(socket.url):
                socket.leave(EndReason.MOVED)

    def start_over(self) -> None:
        """Connects again: risk statuses were dropped, and the initial data of the next connection bring them."""
        if self._socket is not None:
            self._socket.leave(EndReason.FALLEN_BEHIND)

    async def _pause(self, wait: float) -> None:
        """Waits before the next connection, no longer than the domain is where it was; a quota is the user's."""
        until = time.monotonic() + wait
        quota = self.last_end is not None and self.last_end.reason is EndReason.QUOTA
        while (left := until - time.monotonic()) > 0:
            if self._moved_from(self._url) and not quota:
                return
            await asyncio.sleep(min(left, MOVED_WITHIN))

    def _address(self, token: Token) -> str:
        return self.addresses.socket(self.domain, token.hosts.get(self.domain))

    def _moved_from(self, url: str | None) -> bool:
        token = self.calls.token
        return url is not None and token is not None and self._address(token) != url

    def _ended(self, end: ConnectionEnd) -> float:
        wait = self._reconnect.after(end.reason)
        self.last_end = end
        if self.risk is not None:
            self.risk.ended(end)
        if end.reason is not EndReason.HELD_BACK:  # said once where it is found, and asked again every two seconds
            self.reconnects(end.reason)
            if self._said.changed("end", (end.reason, end.said)):
                log.info(
                    "bridge.disconnected", domain=self.domain, reason=end.reason, said=end.said, again_in=round(wait, 2)
                )
        if self._reconnect.refused >= 2 and self._said.changed("unauthorized"):
            log.error("bridge.unauthorized", domain=self.domain, said=end.said)
        return wait

    def _set_on_its_way(self, *, on_its_way: bool) -> None:
        self.on_its_way = on_its_way
        self.changed()

    # -- what the socket tells -------------------------------------------------------------------------------------

    def authorized(self) -> None:
        """See `socket.Hearer`."""
        self._reconnect.authorized()
        self._said.ended("unauthorized")
        if self.risk is not None:
            self.risk.authorized()

    def listening(self) -> None:
        """See `socket.Hearer`."""
        self.epoch += 1
        self.is_listening, self.caught_up, self.last_end = True, False, None
        self._reconnect.listening()
        self._said.ended("end")
        log.info("bridge.listening", domain=self.domain)
        if self.risk is not None:
            self.risk.listening()
        self._set_on_its_way(on_its_way=False)

    def alert(self, alert: Alert) -> bool:
        """See `socket.Hearer`."""
        return self.intake.received(alert)

    def updated(self) -> None:
        """See `socket.Hearer`."""
        self.intake.updated()

    def risk_statuses(self, rows: Sequence[Any], *, initial: bool) -> None:
        """See `socket.Hearer`."""
        if self.risk is not None:
            self.risk.received(rows, initial=initial)

    def unreadable(self, why: str) -> None:
        """See `socket.Hearer`."""
        self.intake.unreadable(why)

    def rubbish(self, why: str) -> None:
        """See `socket.Hearer`."""
        if self._said.changed("rubbish", why):
            log.info("bridge.rubbish", domain=self.domain, why=why)
