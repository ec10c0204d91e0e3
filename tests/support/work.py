"""What a replica does to the ledger, without Kafka and without the partner: a hundred events from end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from schemas.events import EVENTS
from tests.support.events import purchase
from worker.engine.flows.base import Rules
from worker.engine.memory import EMPTY
from worker.engine.rows import Claimed, Finish, IncomingEvent, Later, Move
from worker.engine.states import StepState
from worker.ledger.budget import Budget
from worker.ledger.call_log import EndedCall
from worker.ledger.claims import CallKind, Claims
from worker.ledger.crypto import Vault
from worker.ledger.database import Database
from worker.ledger.ledger import Ledger
from worker.ledger.next_call import NextCall
from worker.ledger.rows import Batch, Lane, OutcomeRow
from worker.partner.operations import OPERATIONS
from worker.replies import Answer
from worker.results import Succeeded

USERS, ACCOUNTS = "createEvaluationUsers", "createEvaluationAccounts"
LOCK, UNLOCK = "setAdminAutoLiqAction", "setAdminAutoLiqAction@unlock"
REVOKE, RESET, CANCEL = "revokeTradingPermissions", "resetDemoAccountState", "cancelEverything"


@dataclass
class Work:
    """One replica's hands on a ledger."""

    database: Database
    ledger: Ledger = field(init=False)
    claims: Claims = field(init=False)
    outcomes: list[OutcomeRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        ranks = {name: operation.limits.rank for name, operation in OPERATIONS.items()}
        self.ledger = Ledger(self.database, Vault(["k" * 32]), Rules("EVAL", 1), ranks)
        self.claims = Claims(self.ledger, Budget(), "here", 65.0)

    async def accept(self, topic: str, bodies: Sequence[Mapping[str, Any]]) -> None:
        """Takes events in."""
        events = [
            IncomingEvent(topic, body["eventId"], EVENTS[topic].model_validate(body), None, 0, number)
            for number, body in enumerate(bodies)
        ]
        self.outcomes += (await self.ledger.accept(events)).outcomes

    async def lanes(self) -> Mapping[tuple[str, StepState], Lane]:
        """What could go now."""
        lanes, _ = await self.ledger.survey(list(OPERATIONS))
        return {(lane.operation, lane.state): lane for lane in lanes}

    async def send(self, operation: str, result: Mapping[str, Any], items: int = 100) -> int:
        """Sends what is due of an operation, and records that all of it took effect; how many steps that were.

        `result`: what the operation returns for an item. Each value gets the number of its step: added to an id, behind
        a name.
        """
        done = 0
        for batch in await self.claim(operation, items):
            moves: list[tuple[Claimed, Move]] = [
                (step, Finish(Succeeded({name: _numbered(value, step.id) for name, value in result.items()})))
                for step in batch.steps
            ]
            self.outcomes += await self.ledger.record(batch.lease, moves, EndedCall(batch.call_id, Answer({})))
            done += len(moves)
        return done

    async def put_off(self, operation: str, state: StepState, items: int = 100) -> None:
        """Sends what is due, with a result that is not known, or that says to try again: all go back into a queue."""
        for batch in await self.claim(operation, items):
            later = Later(state, timedelta(0), 0.0, EMPTY)
            await self.ledger.record(
                batch.lease, [(step, later) for step in batch.steps], EndedCall(batch.call_id, Answer({}))
            )

    async def look_up(self, operation: str, items: int = 100) -> None:
        """Looks up what is unknown, and records that it is not there: all is due again."""
        lane = (await self.lanes())[operation, StepState.UNKNOWN]
        found = await self.claims.look_ups(self.kind(operation), lane, items, 0)
        assert isinstance(found, Sequence), found
        (batch,) = found
        later = Later(StepState.DUE, timedelta(0), 0.0, EMPTY)
        await self.ledger.record(batch.lease, [(step, later) for step in batch.steps])

    async def claim(self, operation: str, items: int = 100) -> Sequence[Batch]:
        """Claims what is due of an operation: calls that may be sent."""
        lane = (await self.lanes())[operation, StepState.DUE]
        batches = await self.claims.sends(self.kind(operation), lane, items, 0)
        assert isinstance(batches, Sequence), batches
        return batches

    def kind(self, operation: str) -> CallKind:
        """What the ledger must know of an operation."""
        there = OPERATIONS[operation]
        return CallKind(operation, there.domain, there.limits.rank, 100, reserve=True, per_hour=None)


def _numbered(value: int | str, number: int) -> int | str:
    return f"{value}{number}" if isinstance(value, str) else value + number


def purchases(first: int, count: int) -> list[dict[str, Any]]:
    """So many purchases of as many traders."""
    return [purchase(number) for number in range(first, first + count)]


def failures(first: int, count: int) -> list[dict[str, Any]]:
    """The failures of the orders of these purchases."""
    return [
        {"eventId": f"f-{number}", "traderId": f"cust-{number}", "orderId": str(100_000 + number), "reason": "a test"}
        for number in range(first, first + count)
    ]


def departures(first: int, count: int) -> list[dict[str, Any]]:
    """These traders leave at once."""
    return [
        {"eventId": f"l-{number}", "traderId": f"cust-{number}", "immediate": True}
        for number in range(first, first + count)
    ]


def resets(first: int, count: int) -> list[dict[str, Any]]:
    """Resets of the accounts of these purchases."""
    return [
        {"eventId": f"r-{number}", "orderId": str(100_000 + number), "tradeDate": date(2026, 11, 20)}
        for number in range(first, first + count)
    ]


def locks(first: int, count: int) -> list[dict[str, Any]]:
    """Locks of the accounts of these purchases."""
    return [
        {"eventId": f"k-{number}", "orderId": str(100_000 + number), "action": "lock", "reason": "a test"}
        for number in range(first, first + count)
    ]


ITEMS = 100
"""Events in a batch: those of a full call."""

CREATED: Mapping[str, int | str] = {"accountId": 8_000_000, "accountName": "EVAL", "tradingPermissionId": 9_000_000}
"""What createEvaluationAccounts returns for an item."""


async def many_events(database: Database, first: int = 0, items: int = ITEMS) -> None:
    """Events of several topics, `items` in each statement, with all that may become of them: results that are not
    known, repeats, wake-ups, traders whose user gets known. `first`: the number of the first event.
    """
    then = first + items
    work = Work(database)
    await work.accept("trader.purchased", purchases(first, items))
    assert await work.send(USERS, {"userId": 7_000_000}) == items
    assert await work.send(ACCOUNTS, CREATED) == items
    await work.accept("trader.purchased", purchases(first, items))
    await work.accept("trader.failed", failures(first, items))
    assert await work.send(REVOKE, {}) == items
    await work.accept("account.reset", resets(then, items))
    await work.accept("trader.purchased", purchases(then, items))
    await work.put_off(USERS, StepState.UNKNOWN)
    await work.look_up(USERS)
    await work.put_off(USERS, StepState.DUE)
    assert await work.send(USERS, {"userId": 7_000_000}) == items
    assert await work.send(ACCOUNTS, CREATED) == items
    assert await work.ledger.replan() is not None
    assert await work.send(RESET, {}) == items
    await work.accept("account.locked", locks(then, items))
    await work.accept("account.unlocked", [{**lock, "action": None} for lock in locks(then, items)])
    assert await work.send(LOCK, {"shown": 1}) == items
    assert await work.ledger.replan() is not None
    assert await work.send(UNLOCK, {"shown": 1}) == items
    await work.accept("trader.left", departures(first, items))
    await work.put_off(CANCEL, StepState.DUE)
    await work.accept("trader.purchased", purchases(then, items))
    await work.ledger.reap(timedelta(seconds=15))
    assert len(work.outcomes) == 5 * items


async def lone_purchase(database: Database, number: int) -> None:
    """A purchase whose two calls are begun in the transactions before them, as those of a lone event are."""
    work = Work(database)
    following = NextCall(work.claims, {name: work.kind(name) for name in (USERS, ACCOUNTS)}, 0)
    (body,) = purchases(number, 1)
    event = IncomingEvent(
        "trader.purchased", body["eventId"], EVENTS["trader.purchased"].model_validate(body), None, 0, 0
    )
    await work.ledger.accept([event], next_call=following)
    results: tuple[Mapping[str, int | str], ...] = ({"userId": 7_000_000}, CREATED)
    outcomes: Sequence[OutcomeRow] = ()
    for result in results:
        ((_, batch),) = following.batches
        value = {name: _numbered(value, number) for name, value in result.items()}
        moves: list[tuple[Claimed, Move]] = [(step, Finish(Succeeded(value))) for step in batch.steps]
        outcomes = await work.ledger.record(
            batch.lease, moves, EndedCall(batch.call_id, Answer({})), next_call=following
        )
    assert len(outcomes) == 1
