"""One connection's protocol: frames and the time in, actions out. Pure; it never raises, whatever the partner sends.

    opening ──o──▶ authorizing ──200──▶ syncing ──200──▶ listening
       └──────────────┴───────────────────┴─────────────────┴──▶ over     (silence, 401, shutdown, `c`, a late answer)

A frame is text whose first character is its kind: `o` open, `h` heartbeat, `c` close, `a` an array of messages. A
message answers a request (`i`, `s`, `d`) or reports an event (`e`, `d`). See "WebSockets" of the vendor's pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from schemas.cleaning import clean
from worker.partner.alerts import alerts_in
from worker.partner.classify import classify
from worker.partner.risk_rows import ENTITY_TYPE, rows_of_answer, rows_of_event
from worker.partner.socket_actions import (
    Action,
    Ask,
    Beat,
    ConnectionEnd,
    EndReason,
    Listening,
    Replied,
    RiskStatuses,
    Rubbish,
    Silenced,
    UnreadableFrame,
)
from worker.partner.socket_frames import closing_of, json_of, refusal_of, whole_number
from worker.replies import Answer, Misdirected, Refusal, Silence, Ticket, Unauthorized

__all__ = ["AUTHORIZE", "HEARTBEAT", "RISK_SYNC_BODY", "SYNC", "SYNC_BODY", "Phase", "SocketProtocol", "SocketTiming"]

AUTHORIZE = "authorize"
SYNC = "user/syncrequest"
HEARTBEAT = "[]"

SYNC_BODY: Mapping[str, Any] = {"splitResponses": True, "entityTypes": ["currency"]}
"""`splitResponses` is mandatory for a vendor: without it the connection is cut. Alerts come whatever `entityTypes`
names, but it must name something; currencies are a handful of rows that hardly ever change."""

RISK_SYNC_BODY: Mapping[str, Any] = {"splitResponses": True, "entityTypes": ["currency", ENTITY_TYPE]}
"""The same, with the risk statuses of all accounts."""


@dataclass(frozen=True, slots=True)
class SocketTiming:
    """Seconds."""

    beat: float = 2.5
    """Between our heartbeats (vendor, connection overview); after some 15 s without one the server closes."""
    open_within: float = 10.0
    """From the handshake to the open frame, which comes at once or never."""
    answer_within: float = 30.0
    """From a request to its (first) answer: above any answer seen, and what a person would wait."""
    silence: float = 35.0
    """Without any frame the connection is dead. The vendor's pages say that `h` comes every 2.5 s, or every 25 s."""
    quick_silence: float = 10.0
    """The same, once two `h` in a row have shown the quicker rhythm: four of them missed."""
    quick_beat: float = 5.0
    """Two `h` with nothing between them and less than this apart are the quicker rhythm."""


class Phase(StrEnum):
    """Where a connection is."""

    OPENING = "opening"
    AUTHORIZING = "authorizing"
    SYNCING = "syncing"
    LISTENING = "listening"
    OVER = "over"


_QUOTAS = {"connectionquotareached", "ipquotareached"}


class SocketProtocol:
    """One connection, from its handshake on. Times are of one monotonic clock, in seconds.

    `risk`: its sync request names the risk statuses of accounts.
    """

    def __init__(self, now: float, timing: SocketTiming | None = None, *, risk: bool = False) -> None:
        self.timing = timing or SocketTiming()
        self.risk = risk
        self.phase = Phase.OPENING
        self.last_received = now
        self._opened = now
        self._next_beat: float | None = None
        self._next_id = 0
        self._pending: dict[int, tuple[str, float]] = {}
        self._synced_ids: set[int] = set()
        self._last_beat: float | None = None  # of the server's, with nothing received since
        self._quick = False

    @property
    def patience(self) -> float:
        """Seconds without a frame after which the connection counts as dead."""
        return self.timing.quick_silence if self._quick else self.timing.silence

    def request(self, operation: str, body: str, now: float) -> str:
        """The frame of a request: four fields, each on a line of its own. The body of `authorize` is the token."""
        number, self._next_id = self._next_id, self._next_id + 1
        self._pending[number] = operation, now
        return f"{operation}\n{number}\n\n{body}"

    def due_in(self, now: float) -> float:
        """Seconds until `tick` has something to do."""
        if self.phase is Phase.OVER:
            return self.timing.beat
        dues = [self.last_received + self.patience]
        if self.phase is Phase.OPENING:
            dues.append(self._opened + self.timing.open_within)
        if self._next_beat is not None:
            dues.append(self._next_beat)
        dues += [asked + self.timing.answer_within for _, asked in self._pending.values()]
        return max(0.0, min(dues) - now)

    def tick(self, now: float) -> list[Action]:
        """What the time asks for."""
        if self.phase is Phase.OVER:
            return []
        if now >= self.last_received + self.patience:
            return [self._over(EndReason.SILENCE)]
        if self.phase is Phase.OPENING and now >= self._opened + self.timing.open_within:
            return [self._over(EndReason.NO_OPEN)]
        for operation, asked in self._pending.values():
            if now >= asked + self.timing.answer_within:
                return [self._over(EndReason.NO_ANSWER, operation)]
        if self._next_beat is not None and now >= self._next_beat:
            # A timer that was late does not make up for the beats it missed.
            self._next_beat = max(self._next_beat + self.timing.beat, now + self.timing.beat / 2)
            return [Beat()]
        return []

    def hear(self, frame: str | bytes, now: float) -> list[Action]:
        """Takes one frame."""
        if self.phase is Phase.OVER:
            return []
        gap = None if self._last_beat is None else now - self._last_beat
        self.last_received, self._last_beat = now, None
        text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
        match text[:1]:
            case "h":
                self._last_beat = now
                self._quick = self._quick or (gap is not None and gap < self.timing.quick_beat)
                return []
            case "o":
                if self.phase is not Phase.OPENING:
                    return [Rubbish("a second open frame")]
                self.phase, self._next_beat = Phase.AUTHORIZING, now + self.timing.beat
                return [Ask(AUTHORIZE)]
            case "c":
                return [self._over(EndReason.CLOSED, closing_of(text[1:]))]
            case "a":
                return self._messages(text[1:])
            case "[":  # a lock-out, in the form in which the vendor's page on limits shows it
                return self._messages(text)
            case _:
                return [Rubbish("a frame of no known kind")]

    def _messages(self, text: str) -> list[Action]:
        messages = json_of(text)
        if not isinstance(messages, list):
            return [UnreadableFrame("a frame that is no list of messages")]  # an alert may have been in it
        actions: list[Action] = []
        for message in messages:
            for action in self._message(message):
                if isinstance(action, ConnectionEnd) and any(isinstance(other, ConnectionEnd) for other in actions):
                    continue
                actions.append(action)
        # What stands behind a shutdown in the same frame was sent before it took effect.
        return sorted(actions, key=lambda action: isinstance(action, ConnectionEnd))

    def _message(self, message: Any) -> Iterator[Action]:
        if isinstance(message, str):  # the vendor sends objects; other SockJS servers send them as strings
            message = json_of(message)
        if not isinstance(message, dict):
            yield UnreadableFrame("a message that is no object")
        elif "e" in message:
            yield from self._event(message["e"], message.get("d"))
        elif "s" in message:
            yield from self._answer(message)
        else:
            yield UnreadableFrame("a message that is neither an answer nor an event")

    def _event(self, kind: Any, body: Any) -> Iterator[Action]:
        if isinstance(body, str):
            body = json_of(body)
        if kind == "props":
            yield from alerts_in(body)
            if rows := rows_of_event(body):
                yield RiskStatuses(rows, initial=False)
        elif kind == "shutdown":
            code = body.get("reasonCode") if isinstance(body, dict) else None
            code = clean(code) if isinstance(code, str) else ""
            if code.lower() == "maintenance":
                yield self._over(EndReason.MAINTENANCE)
            else:
                yield self._over(EndReason.QUOTA if code.lower() in _QUOTAS else EndReason.SHUTDOWN, code[:64])
        elif not isinstance(kind, str) or "alert" in kind.lower():
            yield UnreadableFrame("an event of a kind that is not known")

    def _answer(self, message: Mapping[str, Any]) -> Iterator[Action]:
        number, status, body = whole_number(message.get("i")), whole_number(message["s"]), message.get("d")
        if status is None:
            yield Rubbish("an answer whose status is no number")
            return
        pending = None if number is None else self._pending.pop(number, None)
        if pending is None and status in (423, 429) and self._pending:
            pending = self._pending.pop(min(self._pending))  # the vendor's example of a 429 has no number for an id
        if pending is None:
            yield from self._unasked(number, status, body)
            return
        operation, _ = pending
        reply = classify(status, refusal_of(body), reading=True)
        if operation == SYNC and self.risk and isinstance(reply, Unauthorized | Refusal):
            # The token was good a moment ago: the API key may not read risk statuses.
            yield Replied(operation, Refusal(reply.text, status))
            yield self._over(EndReason.RISK_REFUSED, f"{status} {reply.text}"[:200].strip())
            return
        yield Replied(operation, reply)
        match reply:
            case Answer():
                yield from self._granted(operation, number, body)
            case Ticket(captcha=False) if operation == SYNC:
                pass  # it is sent again with its ticket, on this connection or on another
            case Ticket():
                yield self._over(EndReason.PENALTY, operation)
            case Unauthorized(text):
                yield self._over(EndReason.UNAUTHORIZED, text[:200])
            case Silence():
                yield self._over(EndReason.LOCKED_OUT, str(status))
            case Misdirected():
                yield self._over(EndReason.WRONG_HOST, f"{operation}: {status}")
            case _:
                yield self._over(EndReason.REFUSED, f"{operation}: {status}")

    def _unasked(self, number: int | None, status: int, body: Any) -> Iterator[Action]:
        """An answer to no open request: a further part of the initial data, with the same id or not, or a lock-out."""
        if status in (423, 429):
            yield Silenced(status)
            yield self._over(EndReason.LOCKED_OUT, str(status))
        elif status == 200 and (rows := rows_of_answer(body)) is not None:
            yield RiskStatuses(rows, initial=True)
        elif number not in self._synced_ids:
            yield Rubbish("an answer to nothing that was asked")

    def _granted(self, operation: str, number: int | None, body: Any) -> Iterator[Action]:
        if self.phase is Phase.AUTHORIZING and operation == AUTHORIZE:
            self.phase = Phase.SYNCING
            yield Ask(SYNC)
        elif self.phase is Phase.SYNCING and operation == SYNC:
            # The rest of the answer comes with the same id, in parts whose number and order are not documented: the
            # first one says that the socket listens.
            self.phase = Phase.LISTENING
            if number is not None:
                self._synced_ids.add(number)
            yield Listening()
            if (rows := rows_of_answer(body)) is not None:
                yield RiskStatuses(rows, initial=True)

    def _over(self, reason: EndReason, said: str = "") -> ConnectionEnd:
        self.phase = Phase.OVER
        return ConnectionEnd(reason, said)
