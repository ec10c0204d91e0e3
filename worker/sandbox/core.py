"""The life of one call inside the partner: budget, faults, token, penalties, operation, answer."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.sandbox.effects import Effects
from worker.sandbox.fault_rules import Faults
from worker.sandbox.faulty_responses import instead, mangled, stopped
from worker.sandbox.fields import Malformed
from worker.sandbox.limits import Tickets, UserCallLimit
from worker.sandbox.named_traders import traders_of
from worker.sandbox.operation import Call, Operation
from worker.sandbox.operations import OPERATIONS
from worker.sandbox.recorded_calls import CallLog, CallRecord
from worker.sandbox.request import Request, body_of, items_of, ticket_of
from worker.sandbox.responses import Reply, denied, raw, refusal, text
from worker.sandbox.sessions import Sessions
from worker.sandbox.sockets import Hub
from worker.sandbox.vendor_texts import message
from worker.sandbox.world import World

if TYPE_CHECKING:
    from worker.sandbox.config import SandboxConfig
    from worker.sandbox.fault_rules import FaultRule
    from worker.sandbox.served_hosts import Places
    from worker.sandbox.sessions import Token

__all__ = ["Core", "ServedCall"]

MAX_BODY = 5 * 1024 * 1024
"""Most bytes of a request (partner subaccount document page)."""


@dataclass(slots=True)
class ServedCall:
    """One call under way."""

    request: Request
    record: CallRecord
    body: dict[str, Any] | None
    rules: list[FaultRule]
    ready: Reply | None = None
    token: Token | None = None
    admitted: bool = False
    """Whether the token was looked at; a call let in is not judged again when its effect comes late."""
    ticket: str | None = None
    bare: bytes = b""
    delay_before: float = 0.0
    delay_after: float = 0.0


class Core:
    """All state of the simulated partner. Every method takes the time it happens at."""

    def __init__(self, config: SandboxConfig, now: float, places: Places) -> None:
        self.config = config
        self.places = places
        self.world = World(config, now)
        self.effects = Effects()
        self.sessions = Sessions()
        self.budget = UserCallLimit()
        self.tickets = Tickets()
        self.calls = CallLog()
        self.faults = Faults()
        self.hub = Hub()
        self._late: list[tuple[float, int, ServedCall]] = []
        self._late_made = 0

    # -- the three moments of a call -------------------------------------------------------------------------

    def begin(self, request: Request, now: float) -> ServedCall:
        """Take a call in: it is logged and counted, and the faults that it meets are chosen."""
        self.tick(now)
        body = body_of(request.body)
        locked = self.budget.locked(now)
        verdict = self.budget.count(self.config, now)
        operation = OPERATIONS.get(request.path)
        record = CallRecord(
            number=self.calls.total + 1,
            at=now,
            domain=request.domain,
            path=request.path,
            via=request.via,
            items=items_of(body),
            token_id=self._token_id(request),
            in_flight=len(self.calls.in_flight),
            locked_out=locked,
            writes=operation is not None and operation.writes,
            traders=traders_of(self.world, request.path, request.query, body or {}),
        )
        self.calls.begin(record)
        exchange = ServedCall(request, record, body, [])
        exchange.ticket, exchange.bare = ticket_of(request)
        if verdict != 200:
            exchange.ready = raw(verdict)
            return exchange
        exchange.rules = self.faults.match(request.domain, request.path, request.raw_query + b"\n" + request.body)
        record.faults = [rule.id for rule in exchange.rules]
        delays = [rule for rule in exchange.rules if rule.action == "delay"]
        exchange.delay_before = self.config.partner_ms / 1000 + sum(r.seconds for r in delays if r.when == "before")
        exchange.delay_after = sum(rule.seconds for rule in delays if rule.when == "after")
        return exchange

    def misdirected(self, request: Request, status: int, now: float) -> None:
        """Note a call that came to a host which does not serve its domain: it is logged, and nothing else happens."""
        record = CallRecord(
            number=self.calls.total + 1,
            at=now,
            domain=request.domain,
            path=request.path,
            via=request.via,
            items=items_of(body_of(request.body)),
            token_id=self._token_id(request),
            in_flight=len(self.calls.in_flight),
            faults=["wrong_host"],
        )
        self.calls.begin(record)
        self.calls.wrong_host[request.domain] += 1
        self.calls.end(record, status, now)

    def answer(self, exchange: ServedCall, now: float) -> Reply:
        """Make the call's effect, unless something stands against it, and return what the caller gets."""
        self.tick(now)
        if exchange.ready is not None:
            return exchange.ready
        for rule in exchange.rules:
            early = self._before(rule, exchange, now)
            if early is not None:
                return early
        reply = self._route(exchange, now)
        for rule in exchange.rules:
            reply = mangled(rule, reply)
        return reply

    def finish(self, exchange: ServedCall, reply: Reply, now: float) -> None:
        self.calls.end(exchange.record, reply.status, now)

    def tick(self, now: float) -> None:
        """Make the effects that were due by now: calls that work late, and events of sockets."""
        while self._late and self._late[0][0] <= now:
            due, _, exchange = heapq.heappop(self._late)
            self._route(exchange, due)
        self.hub.tick(self.config, now)

    # -- what stands between a call and its effect -----------------------------------------------------------

    def _before(self, rule: FaultRule, exchange: ServedCall, now: float) -> Reply | None:
        early = stopped(rule, message(self.config, "poison"))
        if early is not None:
            return early
        match rule.action:
            case "late":
                refused = self._admit(exchange, now)
                if refused is not None:
                    return refused
                self._late_made += 1
                heapq.heappush(self._late, (now + rule.seconds, self._late_made, exchange))
                return instead(rule)
            case "lockout":
                self.lock_out(rule.seconds or self.config.lockout_seconds, now)
                return raw(429)
            case "expire_tokens":
                self.sessions.expire_all(now)
            case "close_sessions":
                self.sessions.close_all(now)
            case _:
                pass
        return None

    def _route(self, exchange: ServedCall, now: float) -> Reply:
        request = exchange.request
        operation = OPERATIONS.get(request.path)
        if operation is None:
            return raw(404)
        refused = self._admit(exchange, now)
        if refused is not None:
            return refused
        if operation.domain is not None and operation.domain != request.domain:
            return self._wrong_domain(operation)
        if operation.risks and self.config.risks_permission not in (operation.risks, "FullAccess"):
            return denied(self.config)
        key = (request.path, request.subnet)
        penalty = self._penalty(exchange, key, now)
        if penalty is not None:
            return penalty
        reply = self._work(operation, exchange, now)
        self.tickets.note(self.config, key, failed=reply.failed, now=now)
        return reply

    def _work(self, operation: Operation, exchange: ServedCall, now: float) -> Reply:
        if exchange.body is None or len(exchange.request.body) > MAX_BODY:
            return text(400, "Malformed request")
        call = Call(
            config=self.config,
            world=self.world,
            effects=self.effects,
            sessions=self.sessions,
            hub=self.hub,
            domain=exchange.request.domain,
            body=exchange.body,
            query=exchange.request.query,
            now=now,
            token=exchange.token,
            connection=exchange.request.connection,
            poison=[rule for rule in exchange.rules if rule.action == "poison"],
            places=self.places,
            arrival=exchange.request.arrival,
        )
        try:
            return operation.handler(call)
        except Malformed as error:
            return text(400, f"Malformed request: {error}")

    def _admit(self, exchange: ServedCall, now: float) -> Reply | None:
        """Look at the call's token once; return what stands against it."""
        operation = OPERATIONS.get(exchange.request.path)
        if exchange.admitted or operation is None or operation.public:
            return None
        exchange.token, refused = self._authorized(exchange.request, now)
        exchange.admitted = refused is None
        return refused

    def _authorized(self, request: Request, now: float) -> tuple[Token | None, Reply | None]:
        if request.connection is not None:
            # An authorized socket outlives its token, not its session.
            token = request.connection.token
            if token is None:
                return None, denied(self.config)
            return (None, raw(self.config.closed_session_status)) if token.session.closed else (token, None)
        standing, found = self.sessions.standing(request.bearer or "", now)
        match standing:
            case "valid":
                return found, None
            case "closed":
                status = self.config.closed_session_status
                return None, denied(self.config) if status == 401 else raw(status)
            case "expired":
                return None, denied(self.config, self.config.expired_token_status)
            case "unknown":
                return None, denied(self.config)

    def _wrong_domain(self, operation: Operation) -> Reply:
        match self.config.wrong_domain:
            case "error_text":
                return refusal(message(self.config, f"wrong_domain_{operation.domain}"))
            case "404":
                return raw(404)
            case "401":
                return denied(self.config)

    def _penalty(self, exchange: ServedCall, key: tuple[str, str], now: float) -> Reply | None:
        penalty = self.tickets.check(self.config, key, exchange.ticket, exchange.bare, now)
        if penalty is not None or exchange.ticket is not None:
            return penalty
        for rule in exchange.rules:
            if rule.action == "ticket":
                if rule.captcha:
                    self.tickets.require_captcha(key, self.config.captcha_seconds, now)
                return self.tickets.issue(key, exchange.bare, int(rule.seconds), now, captcha=rule.captcha)
        return None

    def lock_out(self, seconds: float, now: float) -> None:
        self.budget.lockouts += 1
        self.budget.lock(seconds, now)

    def _token_id(self, request: Request) -> str | None:
        socket_token = request.connection.token if request.connection else None
        token = socket_token or self.sessions.tokens.get(request.bearer or "")
        return token.id if token else None
