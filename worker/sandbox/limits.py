"""Limits: the hour's budget with its lock-out, and endpoint limits with penalty tickets (rate limits page)."""

from __future__ import annotations

import re
import secrets
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

from worker.sandbox.responses import Reply

if TYPE_CHECKING:
    from worker.sandbox.config import SandboxConfig

__all__ = ["EndpointLimit", "Tickets", "UserCallLimit", "strip_ticket"]

LOGIN_PATH = "/auth/accesstokenrequest"
SUBMIT_PATH = "/customerapplication/submitpartnersubaccountdocument"


@dataclass(frozen=True, slots=True)
class EndpointLimit:
    """Calls in a rolling hour, which of them count, and the wait that a ticket asks for."""

    calls: int
    counts: Literal["all", "failed"]
    back_off: int
    captcha: bool = False


LIMITS = {
    LOGIN_PATH: EndpointLimit(5, "failed", 19, captcha=True),
    "/auth/me": EndpointLimit(10, "failed", 1),
    "/auth/renewaccesstoken": EndpointLimit(15, "all", 1),
    "/user/syncrequest": EndpointLimit(300, "all", 1),
    "/user/createevaluationusers": EndpointLimit(100, "failed", 1),
    "/user/createevaluationaccounts": EndpointLimit(100, "failed", 1),
    "/user/requesttradingpermission": EndpointLimit(20, "failed", 1),
    "/customerapplication/createpartnersubaccountrequest": EndpointLimit(250, "all", 30),
    "/customerapplication/submitcustomerapplicationdocument": EndpointLimit(30, "all", 30),
    SUBMIT_PATH: EndpointLimit(750, "all", 30),
}
"""From the rate limits page and the pages of the endpoints; one second where they state no back-off."""


class UserCallLimit:
    """Calls of one user over all endpoints. Beyond it: 429, until an hour has passed without a call."""

    def __init__(self) -> None:
        self._calls: deque[float] = deque()
        self.locked_until = 0.0
        self.lockouts = 0

    def used(self, config: SandboxConfig, now: float) -> int:
        while self._calls and self._calls[0] <= now - config.hour_seconds:
            self._calls.popleft()
        return len(self._calls)

    def locked(self, now: float) -> bool:
        return now < self.locked_until

    def count(self, config: SandboxConfig, now: float) -> Literal[200, 423, 429]:
        """Count one call and return its HTTP status."""
        if self.locked(now):
            self.lock(config.lockout_seconds, now)
            return 429
        self._calls.append(now)
        used = self.used(config, now)
        if used > config.hourly_calls:
            self.lockouts += 1
            self.lock(config.lockout_seconds, now)
            return 429
        return 423 if 0 < config.warning_from_call <= used else 200

    def lock(self, seconds: float, now: float) -> None:
        """Begin the lock-out, or begin it again; the count starts again when it ends."""
        self.locked_until = now + seconds
        self._calls.clear()

    def unlock(self) -> None:
        self.locked_until = 0.0
        self._calls.clear()


@dataclass(slots=True)
class _Ticket:
    value: str
    body: bytes
    ready_at: float
    seconds: int
    captcha: bool


class Tickets:
    """Penalty tickets by endpoint and /24 subnet. A ticket is good once, after its time, for the same body."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._captcha_until: dict[tuple[str, str], float] = {}
        self._tickets: dict[tuple[str, str], dict[str, _Ticket]] = defaultdict(dict)
        self.issued = 0
        self.redeemed = 0
        self.early = 0

    def check(
        self, config: SandboxConfig, key: tuple[str, str], value: str | None, bare: bytes, now: float
    ) -> Reply | None:
        """Return the penalty for a call with the ticket `value`, or None if the call may be executed."""
        if value is not None:
            ticket = self._tickets[key].pop(value, None)
            if ticket is None or ticket.captcha or not _same(config, ticket.body, bare):
                return self.issue(
                    key, bare, self._seconds(config, key[0]), now, captcha=bool(ticket and ticket.captcha)
                )
            if now < ticket.ready_at:
                self.early += 1
                return self.issue(key, bare, ticket.seconds * 2, now)
            self.redeemed += 1
            return None
        limit = limit_of(config, key[0])
        if self._captcha_until.get(key, 0) > now:
            return self.issue(key, bare, self._seconds(config, key[0]), now, captcha=True)
        if limit is None or self._used(config, key, now) < limit.calls:
            return None
        if limit.captcha:
            self._captcha_until[key] = now + config.captcha_seconds
        return self.issue(key, bare, self._seconds(config, key[0]), now, captcha=limit.captcha)

    def note(self, config: SandboxConfig, key: tuple[str, str], *, failed: bool, now: float) -> None:
        """Count a call that was answered, if the endpoint's limit counts its kind."""
        limit = limit_of(config, key[0])
        if limit is not None and (failed or limit.counts == "all"):
            self._counted[key].append(now)

    def issue(self, key: tuple[str, str], body: bytes, seconds: int, now: float, *, captcha: bool = False) -> Reply:
        """Answer with a ticket; the operation is not executed (penalty tickets page)."""
        ticket = _Ticket(secrets.token_urlsafe(24), body, now + seconds, seconds, captcha)
        self._tickets[key][ticket.value] = ticket
        self.issued += 1
        data: dict[str, Any] = {"p-ticket": ticket.value, "p-time": seconds}
        if captcha:
            data["p-captcha"] = True
        return Reply(data=data)

    def require_captcha(self, key: tuple[str, str], seconds: float, now: float) -> None:
        """Let an endpoint ask for a captcha for some time, whatever it is sent."""
        self._captcha_until[key] = now + seconds

    def _used(self, config: SandboxConfig, key: tuple[str, str], now: float) -> int:
        counted = self._counted[key]
        while counted and counted[0] <= now - config.hour_seconds:
            counted.popleft()
        return len(counted)

    def _seconds(self, config: SandboxConfig, path: str) -> int:
        if config.ticket_seconds is not None:
            return config.ticket_seconds
        limit = limit_of(config, path)
        return limit.back_off if limit else 1


def limit_of(config: SandboxConfig, path: str) -> EndpointLimit | None:
    """Return the limit of an endpoint after the switches' changes, or None if it has none."""
    if not config.endpoint_limits_on:
        return None
    limit = LIMITS.get(path)
    calls = limit.calls if limit else 0
    if path == SUBMIT_PATH:
        calls = config.document_endpoint_limit
    elif path == LOGIN_PATH:
        calls = config.failed_logins_an_hour
    calls = config.endpoint_limits.get(path, calls)
    if calls <= 0:
        return None
    base = limit or EndpointLimit(calls, "all", 1)
    return EndpointLimit(calls, base.counts, base.back_off, base.captcha)


_MEMBER = rb'"p-ticket"\s*:\s*"((?:[^"\\]|\\.)*)"'
_FORMS = (
    re.compile(rb"\s*,\s*" + _MEMBER),  # after another field
    re.compile(_MEMBER + rb"\s*,\s*"),  # before the others
    re.compile(rb"\s*" + _MEMBER + rb"\s*"),  # alone
)


def strip_ticket(body: bytes) -> tuple[str | None, bytes]:
    """Take the `p-ticket` field out of a JSON body; no other byte is changed."""
    for form in _FORMS:
        found = form.search(body)
        if found:
            return found.group(1).decode(errors="replace"), body[: found.start()] + body[found.end() :]
    return None, body


def _same(config: SandboxConfig, first: bytes, second: bytes) -> bool:
    if first == second or config.ticket_match == "bytes":
        return first == second
    try:
        return bool(orjson.loads(first) == orjson.loads(second))
    except orjson.JSONDecodeError:
        return False
