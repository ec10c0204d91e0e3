"""Outcomes off their topics, as rows of a ledger that was lost. Pure.

An outcome has ids and no personal data, which is all that an ended flow keeps. What the ledger knows otherwise stands;
of two outcomes of one order the later one counts. An event whose last outcome is `pending` leaves no flow: when its
topic is read again, it is accepted again, and finds here what it had got.

An outcome does not say on which domain an account was assigned. One that a subaccount request has got, by that
request's outcome, is on LIVE; any other one is taken for an account on DEMO.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas.outcomes import ErrorCode, Outcome, Status, outcome_id
from worker.engine.changes import Changes
from worker.engine.facts import DepartureDates, Facts, changed, order_facts
from worker.engine.flows import FLOWS
from worker.engine.flows.assigned import AssignedFacts
from worker.engine.flows.base import Names, of_type
from worker.engine.flows.passed import KIND as PASSED
from worker.engine.flows.purchased import KIND as PURCHASED
from worker.engine.rows import LivePermissionRow, OrderRow, TraderRow
from worker.engine.shared_rows import Shared
from worker.engine.snapshot import Snapshot

_KINDS = {"trader.purchased": PURCHASED, "trader.passed": PASSED}

_NOT_ITS_ORDER = frozenset({ErrorCode.CONFLICT, ErrorCode.INVALID, ErrorCode.RESTRICTED_COUNTRY, ErrorCode.NOT_FOUND})
"""Codes of events that may never have had their order or trader: the ids in such an outcome may be another's."""

_ROUNDS = 100
"""Retries, cancellations and resolutions of one flow since a backup was made: far more than operators make."""

_NOT_BEGUN = frozenset({ErrorCode.CONFLICT, ErrorCode.INVALID})
"""Codes of departures whose trader was not known. One that was executed may have ended as `not_found` too."""

_LEFT, _ASSIGNED = "trader.left", "account.assigned"


@dataclass(frozen=True, slots=True)
class PastOutcome:
    """An outcome with its record. `finals`: how many final outcomes of its event have been read, this one included."""

    outcome: Outcome
    flow_id: uuid.UUID
    key: bytes | None
    body: bytes
    finals: int = 1

    def round_from(self, least: int) -> int | None:
        """The round of its flow, if that is `least` or a later one: the outcome's id follows from it. None: it is of an
        earlier round, after which an operator has started the flow again.
        """
        said = self.outcome
        result = (said.topic, said.event_id, said.status, said.error_code, said.request_status)
        return next(
            (each for each in range(least, least + _ROUNDS) if outcome_id(*result, each) == said.outcome_id), None
        )

    @property
    def names(self) -> Names:
        """What the ledger has to load and lock for it."""
        outcome, (kind, order_id) = self.outcome, self.order_key or (PURCHASED, None)
        return Names(
            trader_id=outcome.trader_id,
            user_id=outcome.user_id,
            order_id=order_id,
            order_kind=kind,
            account_id=outcome.account_id,
            departs=outcome.topic == _LEFT,
        )

    @property
    def order_key(self) -> tuple[str, str] | None:
        """Kind and id of the order that its event asked for."""
        kind = _KINDS.get(self.outcome.topic)
        if kind is None:
            return None
        if self.outcome.order_id is None:
            return f"{kind}/event", self.outcome.event_id
        return kind, self.outcome.order_id

    @property
    def final(self) -> bool:
        """Whether its flow has ended."""
        return self.outcome.status is not Status.PENDING

    @property
    def accepted_at(self) -> datetime:
        """When its event was accepted: a flow's id begins with that time (UUID version 7)."""
        began, ended = datetime(1970, 1, 1, tzinfo=UTC), self.outcome.occurred_at
        age = self.flow_id.int >> 80  # milliseconds; in another version any number, which need not be a date
        timed = self.flow_id.version == 7 and age <= (ended - began) / timedelta(milliseconds=1)
        return began + timedelta(milliseconds=age) if timed else ended

    @property
    def facts(self) -> Facts:
        """What its flow has learned, as far as the outcome says it."""
        outcome = self.outcome
        return FLOWS[outcome.topic].facts(
            user_id=outcome.user_id,
            account_id=outcome.account_id,
            account_name=outcome.account_name,
            trading_permission_id=outcome.trading_permission_id,
            trading_permission_ids=outcome.trading_permission_ids,
            request_id=outcome.request_id,
            request_status=outcome.request_status,
            entitlement_id=outcome.entitlement_id,
            warnings=outcome.warnings,
            ended=self.final,
        )


class Rebuilding:
    """The outcomes of one transaction, in their order, against `snapshot`: locked, with rows of all named traders."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._shared = Shared(snapshot)
        self._on_live: dict[uuid.UUID, None] = {}  # flows that assigned an account on LIVE
        self._live_permissions: list[LivePermissionRow] = []

    def add(self, past: PastOutcome) -> None:
        """Keeps what an outcome says of its trader, its order, its departure and its permission on LIVE."""
        outcome = past.outcome
        if outcome.error_code not in _NOT_ITS_ORDER:
            self._learn_user(outcome)
            self._put_order(past)
        if outcome.topic == _LEFT and past.final:
            self._depart(past)
        if outcome.topic == _ASSIGNED and self._is_on_live(past):
            self._on_live[past.flow_id] = None
            account, user, permission = outcome.account_id, outcome.user_id, outcome.trading_permission_id
            if account is not None and user is not None and permission is not None:
                self._live_permissions.append(LivePermissionRow(permission, account, user))

    def _depart(self, past: PastOutcome) -> None:
        """From its execution on a departure stops what came before it, whatever has become of it: one domain may be
        done. An operator has withdrawn one that was cancelled; one without a user was not executed.
        """
        outcome = past.outcome
        if outcome.error_code is ErrorCode.CANCELLED:
            self._shared.end_departure(past.flow_id, withdrawn=True)
        elif outcome.user_id is not None and outcome.error_code not in _NOT_BEGUN:
            keys = self._shared.rows.trader_keys(past.names)
            self._shared.note_departure(past.flow_id, keys, DepartureDates(past.accepted_at, outcome.occurred_at))
            self._shared.end_departure(past.flow_id, withdrawn=False)

    def _is_on_live(self, past: PastOutcome) -> bool:
        """Whether the account is a subaccount of the same user. Numbers of the two domains may be equal: if a purchase
        of the user has it too, its permission tells.
        """
        outcome, rows = past.outcome, self._shared.rows
        subaccounts = rows.references(past.names._replace(order_kind=PASSED))
        permissions = {row.permission_id for row in rows.references(past.names)} - {None}
        theirs = any(row.user_id == outcome.user_id for row in subaccounts)
        return theirs and outcome.trading_permission_id not in permissions

    def facts(self, past: PastOutcome) -> Facts:
        """What the flow of one of these outcomes has learned."""
        if past.flow_id not in self._on_live:
            return past.facts
        return changed(of_type(past.facts, AssignedFacts), domain="LIVE")

    def _learn_user(self, outcome: Outcome) -> None:
        if outcome.trader_id is None or outcome.user_id is None:
            return
        theirs = self._shared.rows.by_user.get(outcome.user_id)
        row = self._shared.rows.traders.setdefault(outcome.trader_id, TraderRow(outcome.trader_id))
        if row.maker is None and theirs is None:
            names = Names(trader_id=outcome.trader_id, user_id=outcome.user_id)
            self._shared.learn_user(names, outcome.user_id, made_here=False)

    def _put_order(self, past: PastOutcome) -> None:
        outcome, key = past.outcome, past.order_key
        if key is None or (not past.final and outcome.request_id is None):
            return
        state = outcome.status.value if past.final else "failed"  # its next owner adopts what it got
        before = self._shared.rows.orders.get(key)
        if before is not None:
            living, later = before.details is not None, before.asked_at > outcome.occurred_at
            if living or later or (before.state == "succeeded" and state != "succeeded"):
                return
        self._shared.put_order(
            OrderRow(
                *key,
                flow_id=past.flow_id,
                state=state,
                details=None,
                trader_id=outcome.trader_id,
                user_id=outcome.user_id,
                account_id=outcome.account_id,
                permission_id=outcome.trading_permission_id,
                facts=changed(order_facts(past.facts), ended=False),
                error_code=None if outcome.error_code is None else outcome.error_code.value,
                error_text=outcome.error_text,
                asked_at=outcome.occurred_at,
            )
        )

    def changes(self, now: datetime) -> Changes:
        """What the transaction writes, but for the flows."""
        shared = self._shared
        return Changes(
            now,
            traders=shared.changed_traders(),
            orders=shared.changed_orders(),
            departures=shared.changed_departures(),
            withdrawn=shared.withdrawn,
            live_permissions=self._live_permissions,
            wakes=sorted(shared.wakes()),
            new_trader_keys={f"t:{trader_id}": f"u:{user_id}" for trader_id, user_id in shared.new_users.items()},
        )


TOPICS = tuple(FLOWS)
"""Input topics whose outcomes are read; purchases first, which make traders known."""
