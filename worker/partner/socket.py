"""One connection to a domain's socket: the driver around `socket_protocol.py`. It decides nothing.

Each request is written down in the ledger before it leaves (`socket_calls.py`), as every call is. The reader never
waits for the ledger or for Kafka, and the heartbeat has a task of its own that waits for nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, assert_never

import orjson
import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from worker.partner.handshake import Dial, NotConnected
from worker.partner.lockout import LockOut
from worker.partner.socket_actions import (
    Action,
    Alert,
    Ask,
    Beat,
    Changed,
    ConnectionEnd,
    EndReason,
    Listening,
    Replied,
    RiskStatuses,
    Rubbish,
    Silenced,
    UnreadableFrame,
)
from worker.partner.socket_calls import Calls, HeldBack, Permit
from worker.partner.socket_protocol import (
    AUTHORIZE,
    HEARTBEAT,
    RISK_SYNC_BODY,
    SYNC,
    SYNC_BODY,
    SocketProtocol,
    SocketTiming,
)
from worker.partner.token import Token
from worker.replies import Answer, Misdirected, NotSent, Reply, Silence, Ticket, Unclear

__all__ = ["TOO_LARGE", "Hearer", "Socket"]

log = structlog.get_logger()

TOO_LARGE = "a frame is too large"
"""What is said of a connection that ended because of such a frame."""


class Hearer(Protocol):
    """A listener. Called from the reader: must return at once."""

    def authorized(self) -> None:
        """The partner has accepted the token."""

    def listening(self) -> None:
        """From here on every alert is received."""

    def alert(self, alert: Alert) -> bool:
        """Takes an alert; false when there is no room for it, which ends the connection."""

    def updated(self) -> None:
        """An alert that was raised before has changed."""

    def risk_statuses(self, rows: Sequence[Any], *, initial: bool) -> None:
        """Risk statuses as they came. `initial`: of the initial data."""

    def unreadable(self, why: str) -> None:
        """Something came that may be an alert and cannot be read."""

    def rubbish(self, why: str) -> None:
        """Something made no sense, and is no alert."""


class Socket:
    """A connection, to be run once. `address`: the host belongs to the token, and both to the same moment. `risk`: it
    asks for the risk statuses of all accounts.
    """

    def __init__(
        self,
        address: Callable[[Token], str],
        calls: Calls,
        hearer: Hearer,
        lockout: LockOut,
        dial: Dial | None = None,
        timing: SocketTiming | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        risk: bool = False,
    ) -> None:
        self.url: str | None = None
        """Where it has connected to, or tries to."""
        self._address = address
        self._calls = calls
        self._lockout = lockout
        self._dial = dial or Dial()
        self._hearer = hearer
        self._clock = clock
        self.wire = SocketProtocol(clock(), timing, risk=risk)
        self._permits: dict[str, Permit] = {}
        self._asked: set[str] = set()
        self._ended: asyncio.Future[ConnectionEnd] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._notes: set[asyncio.Task[None]] = set()

    async def run(self) -> ConnectionEnd:
        """From the handshake to the end. Raises `HeldBack`, or what its `Calls` raise, before the handshake."""
        # Before the handshake: it is an HTTP request, and in a lock-out even that one would start the hour again.
        permit = self._permits[AUTHORIZE] = await self._calls.begin(AUTHORIZE)
        try:
            if (why := self._lockout.why_silent) is not None:  # received while the call was being written down
                raise HeldBack(0.0, why)
            connection = await self._connect(permit.token)
            if isinstance(connection, ConnectionEnd):
                return connection
            try:
                return await self._converse(connection)
            finally:
                await connection.close()
        finally:
            await self._settle()

    def leave(self, reason: EndReason) -> None:
        """Ends the connection for a reason of ours."""
        self._end(ConnectionEnd(reason))

    async def _connect(self, token: Token) -> ClientConnection | ConnectionEnd:
        self.url = self._address(token)
        connection = await self._dial.connected(self.url)
        if not isinstance(connection, NotConnected):
            return connection
        reply = connection.reply
        if isinstance(reply, Silence):
            self._lockout.received(reply.status)
        await self._calls.finish(self._permits.pop(AUTHORIZE), reply)
        match reply:
            case Silence():
                return ConnectionEnd(EndReason.LOCKED_OUT, connection.said)
            case Misdirected():
                return ConnectionEnd(EndReason.WRONG_HOST, connection.said)
            case _:
                return ConnectionEnd(EndReason.UNREACHABLE, connection.said)

    async def _converse(self, connection: ClientConnection) -> ConnectionEnd:
        self.wire = SocketProtocol(self._clock(), self.wire.timing, risk=self.wire.risk)
        self._spawn(self._read(connection))
        self._spawn(self._keep_time(connection))
        return await self._ended

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for frame in connection:
                for action in self.wire.hear(frame, self._clock()):
                    self._do(action, connection)
                await asyncio.sleep(0)  # a flood of frames must not starve the heartbeat
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                self._end(ConnectionEnd(EndReason.CUT, TOO_LARGE))
        self._end(ConnectionEnd(EndReason.CUT))

    async def _keep_time(self, connection: ClientConnection) -> None:
        while not self._ended.done():
            # Looked at often, since the next frame may bring the next thing due nearer.
            await asyncio.sleep(min(self.wire.due_in(self._clock()), self.wire.timing.beat / 5))
            for action in self.wire.tick(self._clock()):
                self._do(action, connection)

    def _do(self, action: Action, connection: ClientConnection) -> None:
        match action:
            case Beat():
                self._spawn(self._send(connection, HEARTBEAT))
            case Ask(operation):
                self._spawn(self._ask(connection, operation))
            case Replied(operation, reply):
                if isinstance(reply, Silence):
                    self._lockout.received(reply.status)
                if operation == AUTHORIZE and isinstance(reply, Answer):
                    self._hearer.authorized()
                self._asked.discard(operation)
                self._note(self._replied(connection, self._permits.pop(operation), reply))
            case Silenced(status):
                self._lockout.received(status)
            case ConnectionEnd():
                self._end(action)
            case Listening() | Alert() | Changed() | RiskStatuses() | UnreadableFrame() | Rubbish():
                self._tell(action)
            case never:
                assert_never(never)

    def _tell(self, action: Listening | Alert | Changed | RiskStatuses | UnreadableFrame | Rubbish) -> None:
        match action:
            case Listening():
                self._hearer.listening()
            case Alert():
                if not self._hearer.alert(action):
                    self._end(ConnectionEnd(EndReason.FULL))
            case Changed():
                self._hearer.updated()
            case RiskStatuses(rows, initial):
                self._hearer.risk_statuses(rows, initial=initial)
            case UnreadableFrame(why):
                self._hearer.unreadable(why)
            case Rubbish(why):
                self._hearer.rubbish(why)
            case never:
                assert_never(never)

    async def _ask(self, connection: ClientConnection, operation: str) -> None:
        sync_body = RISK_SYNC_BODY if self.wire.risk else SYNC_BODY
        same = orjson.dumps(sync_body) if operation == SYNC else b""
        while operation not in self._permits:
            try:
                self._permits[operation] = await self._calls.begin(operation, same)
            except HeldBack as held:
                await asyncio.sleep(held.wait)
        if self._lockout.why_silent is not None:
            self._end(ConnectionEnd(EndReason.LOCKED_OUT))
            return
        permit = self._permits[operation]
        body = permit.token.value
        if operation == SYNC:
            ticket = {} if permit.ticket is None else {"p-ticket": permit.ticket}
            body = orjson.dumps({**sync_body, **ticket}).decode()
        self._asked.add(operation)
        await self._send(connection, self.wire.request(operation, body, self._clock()))

    async def _replied(self, connection: ClientConnection, permit: Permit, reply: Reply) -> None:
        await self._calls.finish(permit, reply)
        if permit.operation == SYNC and isinstance(reply, Ticket) and not self._ended.done():
            self._spawn(self._ask(connection, SYNC))  # the ledger holds it back until the ticket may be used

    async def _send(self, connection: ClientConnection, text: str) -> None:
        try:
            # A server that reads nothing fills our buffers; what is written stays written, and silence ends it.
            async with asyncio.timeout(self.wire.timing.beat):
                await connection.send(text)
        except TimeoutError:
            pass
        except ConnectionClosed:
            self._end(ConnectionEnd(EndReason.CUT))

    def _end(self, end: ConnectionEnd) -> None:
        if not self._ended.done():
            self._ended.set_result(end)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _note(self, work: Coroutine[Any, Any, None]) -> None:
        """As `_spawn`, but the end of the connection does not end it: what came back must be written down."""
        task = asyncio.create_task(work)
        self._notes.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._notes.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._ended.done():
            log.warning("bridge.socket_task_failed", error=type(error).__name__)
        else:
            self._ended.set_exception(error)

    async def _settle(self) -> None:
        """Ends what is under way; of a request without an answer nobody knows what became of it."""
        self._end(ConnectionEnd(EndReason.CUT))
        if not self._ended.cancelled():
            self._ended.exception()  # retrieved here: it may be that no task awaits it
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._notes, return_exceptions=True)
        for operation, permit in self._permits.items():
            asked = operation in self._asked
            reply = Unclear("the connection ended before the answer") if asked else NotSent("the connection ended")
            await self._calls.finish(permit, reply)
        self._permits.clear()
