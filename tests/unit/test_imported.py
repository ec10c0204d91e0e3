"""What a proven line of `import`, and an outcome of a lost ledger, mean beside what the ledger knows."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.outcomes import Outcome
from tests.support.running_firm import in_this_process
from worker.engine.flows.assigned import AssignedFacts
from worker.engine.flows.base import order_key, trader_key
from worker.engine.flows.purchased_facts import PurchasedFacts
from worker.engine.imported import Given, Holding, Importing, ImportVerdict, known
from worker.engine.rebuilt import PastOutcome, Rebuilding
from worker.engine.rows import OrderRow, TraderRow
from worker.engine.snapshot import Snapshot
from worker.kafka.read import Record
from worker.ledger.crypto import Vault
from worker.operate.from_outcomes import past_outcome

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
VAULT = Vault(["a key of the tests that is long enough"])
FLOW = uuid.uuid4()

LINE = Given(number=2, trader_id="t", user_id=7, order_id="1", account_id=9)
HOLDING = Holding(LINE, 7, "jane", 9, "EVAL1", 11)


def order(order_id: str = "1", **changes: Any) -> OrderRow:
    row = OrderRow("purchased", order_id, FLOW, "succeeded", b"x", "t", 7, 9, 11, PurchasedFacts(), None, None, NOW)
    return row._replace(**changes)


def snapshot(*rows: TraderRow | OrderRow) -> Snapshot:
    made = Snapshot(VAULT, NOW)
    made.add_trader(TraderRow("t"))
    for row in rows:
        (made.add_trader if isinstance(row, TraderRow) else made.add_order)(row)  # type: ignore[arg-type]
    return made


def test_a_new_line_wakes_what_waits_for_its_trader_and_its_order() -> None:
    """Events that came before the import go on at once."""
    importing = Importing(snapshot(), NOW)
    assert importing.add(HOLDING) is ImportVerdict.IMPORTED
    changes = importing.changes()
    assert set(changes.wakes) == {trader_key("t"), order_key("purchased", "1")}
    assert changes.new_trader_keys == {"t:t": "u:7"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((TraderRow("t", 7), order()), ImportVerdict.KNOWN),
        ((TraderRow("t", 7), order(state="failed", account_id=None)), ImportVerdict.IMPORTED),
        ((TraderRow("t", 7), order(state="open", account_id=None)), "is an event's, which is open"),
        ((TraderRow("t", 7), order(state="in_doubt")), "is an event's, which is in doubt"),
        ((TraderRow("t", 7), order(account_id=8)), "has another account already, 8"),
        ((order(trader_id="x"),), "Order 1 is another trader's"),
        ((order("2", trader_id="x"),), "Account 9 is trader x's"),
        ((order("2", account_id=8, trader_id="x"),), "Account 9 is trader x's"),  # by the trading permission
        ((order("2"),), "Account 9 is order 2's"),
        ((order("9", kind="purchased/import"),), ImportVerdict.IMPORTED),  # it gets its order id now
        ((order("2", kind="passed", trader_id="x"),), ImportVerdict.IMPORTED),  # an account of LIVE
        ((TraderRow("t", 8),), "known with another Tradovate user"),
        ((TraderRow("x", 7),), "User 7 is trader x's already"),
        ((TraderRow("t", maker=FLOW),), "just being created"),
    ],
)
def test_what_the_ledger_knows_stands(rows: tuple[TraderRow | OrderRow, ...], said: ImportVerdict | str) -> None:
    """One user is one trader, one account is one order, and an event at work is not disturbed."""
    importing = Importing(snapshot(*rows), NOW)
    found = importing.add(HOLDING)
    if isinstance(said, ImportVerdict):
        assert found is said
    else:
        assert isinstance(found, str)
        assert said in found
        assert not importing.changes().orders


def test_nobody_buys_tomorrow() -> None:
    """What is dated after now would outlive every departure: a date that may be another zone's today is now, others are
    refused before Tradovate is asked.
    """
    later = replace(HOLDING.given, purchased_at=NOW + timedelta(hours=10))
    importing = Importing(snapshot(), NOW)
    importing.add(replace(HOLDING, given=later))
    assert [row.asked_at for row in importing.changes().orders] == [NOW]
    wrong = replace(later, purchased_at=NOW + timedelta(days=2))
    assert known(snapshot(), [later, wrong], NOW) == [None, "purchasedAt is in the future."]


@pytest.mark.parametrize(
    "changes",
    [
        {"userId": 2**63},
        {"tradingPermissionIds": [0]},
        {"traderId": "x" * 3000},
        {"orderId": "a\x00b"},
        {"warnings": ["\x00"]},
        {"attempts": 2**31},
        {"occurredAt": "0001-01-01T00:00:00+14:00"},
        {"flowId": "none"},
        {"topic": "trader.left"},
    ],
)
def test_an_outcome_that_the_ledger_cannot_hold_is_passed_over(changes: dict[str, Any]) -> None:
    """It would end every rebuild at the same record."""
    good = past().outcome.model_dump(mode="json", by_alias=True)

    def heard(value: dict[str, Any]) -> PastOutcome | None:
        return past_outcome(Record("trader.purchased.outcome", 0, 0, 0, None, json.dumps(value).encode(), ()))

    assert heard({**good, **changes}) is None
    assert heard(good) is not None


@pytest.mark.parametrize(("flow_id", "accepted"), [
    ("ffffffff-ffff-4fff-bfff-ffffffffffff", NOW), ("ffffffff-ffff-7fff-bfff-ffffffffffff", NOW),
    (f"{int(NOW.timestamp() - 60) * 1000:012x}70008000000000000000", NOW - timedelta(minutes=1)),
])  # fmt: skip
def test_a_flow_s_id_that_is_no_time_says_nothing(flow_id: str, accepted: datetime) -> None:
    """It would end every rebuild: its first part may be later than any date."""
    assert replace(past(), flow_id=uuid.UUID(flow_id)).accepted_at == accepted


def past(seconds: int = 0, **changes: Any) -> PastOutcome:
    body = {
        "outcomeId": f"o{seconds}",
        "eventId": "e",
        "topic": "trader.purchased",
        "flowId": str(FLOW),
        "status": "succeeded",
        "orderId": "1",
        "traderId": "t",
        "userId": 7,
        "accountId": 9,
        "occurredAt": (NOW + timedelta(seconds=seconds)).isoformat(),
        **changes,
    }
    return PastOutcome(Outcome.model_validate(body), FLOW, None, b"")


def rebuilt(*outcomes: PastOutcome, known: tuple[TraderRow | OrderRow, ...] = ()) -> tuple[Any, Any]:
    rebuilding = Rebuilding(snapshot(*known))
    for each in outcomes:
        rebuilding.add(each)
    changes = rebuilding.changes(NOW)
    return {row.trader_id: row.user_id for row in changes.traders}, [
        (row.state, row.account_id) for row in changes.orders
    ]


FAILED: dict[str, Any] = {"status": "failed", "errorCode": "rejected", "accountId": 8}


def test_the_last_outcome_of_an_order_counts_and_its_success_stays() -> None:
    """A failure is replaced by what came of the next event; a later failure takes nothing away."""
    assert rebuilt(past(0, **FAILED), past(1)) == ({"t": 7}, [("succeeded", 9)])
    assert rebuilt(past(0), past(1, **FAILED)) == ({"t": 7}, [("succeeded", 9)])
    assert rebuilt(past(1), past(0, accountId=8)) == ({"t": 7}, [("succeeded", 9)])


def test_outcomes_about_another_trader_teach_nothing() -> None:
    """The ids of a conflict may be another trader's; what the ledger has made itself stands."""
    conflict = past(0, status="failed", errorCode="conflict", errorText="x")
    assert rebuilt(conflict) == ({}, [])
    assert rebuilt(past(), known=(TraderRow("x", 7),)) == ({}, [("succeeded", 9)])
    assert rebuilt(past(), known=(TraderRow("t", 7), order())) == ({}, [])


def test_a_request_under_way_is_left_to_the_event_that_is_read_again() -> None:
    """Money is not asked for a second time: the request is found as what a failed owner left behind."""
    asked = past(0, topic="trader.passed", status="pending", requestId=5, requestStatus="InReview", accountId=None)
    rebuilding = Rebuilding(snapshot())
    rebuilding.add(asked)
    (row,) = rebuilding.changes(NOW).orders
    assert (row.kind, row.state, row.facts.request_id) == ("passed", "failed", 5)
    assert not replace(asked).final


def departed(*outcomes: PastOutcome) -> list[tuple[str, bool, bool]]:
    rebuilding = Rebuilding(snapshot(TraderRow("t", 7)))
    for each in outcomes:
        rebuilding.add(each)
    rows = rebuilding.changes(NOW).departures
    return sorted((row.trader_key, row.begun_at is not None, row.ended) for row in rows)


@pytest.mark.parametrize(("changes", "known"), [
    ({}, True),
    ({"status": "failed", "errorCode": "gave_up", "errorText": "DEMO: away. LIVE is done."}, True),
    ({"status": "failed", "errorCode": "not_found", "errorText": "LIVE: no such user."}, True),
    ({"status": "in_doubt", "errorCode": "in_doubt"}, True),
    ({"status": "failed", "errorCode": "not_found", "userId": None}, False),
    ({"status": "failed", "errorCode": "conflict"}, False),
    ({"status": "failed", "errorCode": "cancelled"}, False),
    ({"status": "pending"}, False),
])  # fmt: skip
def test_a_departure_that_was_executed_is_known_whatever_became_of_it(changes: dict[str, Any], known: bool) -> None:
    """One domain may be done: nothing that was asked for before it is given to its trader. One that was withdrawn, or
    whose trader was not known, stops nothing.
    """
    left = past(1, **{"topic": "trader.left", "orderId": None, "accountId": None, **changes})
    assert departed(left) == ([("t:t", True, True), ("u:7", True, True)] if known else [])


def test_a_departure_that_an_operator_withdraws_later_is_forgotten() -> None:
    """`flows resolve` of one in doubt is a later outcome of the same event."""
    left: dict[str, Any] = {"topic": "trader.left", "orderId": None, "accountId": None}
    doubt = past(1, **left, status="in_doubt", errorCode="in_doubt")
    assert departed(doubt, past(2, **left, status="failed", errorCode="cancelled")) == []


SUBACCOUNT: dict[str, Any] = {"topic": "trader.passed", "accountId": 900, "orderId": "1", "requestId": 3}
ASSIGNED: dict[str, Any] = {"topic": "account.assigned", "orderId": None, "tradingPermissionId": 55}


@pytest.mark.parametrize(("before", "changes", "on_live"), [
    ([past(0, **SUBACCOUNT)], {"accountId": 900}, True),
    ([past(0, **SUBACCOUNT), past(1, accountId=900, tradingPermissionId=54)], {"accountId": 900}, True),
    ([past(0, **SUBACCOUNT), past(1, accountId=900, tradingPermissionId=55)], {"accountId": 900}, False),
    ([past(0, **{**SUBACCOUNT, "userId": 8, "traderId": "x"})], {"accountId": 900}, False),
    ([past(0, **SUBACCOUNT)], {"accountId": 9}, False),
    ([], {"accountId": 900}, False),
])  # fmt: skip
def test_the_account_of_a_subaccount_request_is_on_live(
    before: list[PastOutcome], changes: dict[str, Any], on_live: bool
) -> None:
    """No outcome says so. Taken for one on DEMO, it would be missed there, and the permission of the same number on
    DEMO, another trader's perhaps, could be revoked.
    """
    rebuilding = Rebuilding(snapshot(TraderRow("t", 7), TraderRow("x", 8)))
    for each in before:
        rebuilding.add(each)
    assigned = replace(past(5, **{**ASSIGNED, **changes}), flow_id=uuid.uuid4())
    rebuilding.add(assigned)
    facts = rebuilding.facts(assigned)
    assert isinstance(facts, AssignedFacts)
    assert facts.domain == ("LIVE" if on_live else None)
    permissions = [tuple(row) for row in rebuilding.changes(NOW).live_permissions]
    assert permissions == ([(55, 900, 7)] if on_live else [])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Name a FILE with the traders"),
        (("/nowhere.csv",), "/nowhere.csv cannot be read"),
        (("x.csv", "--from-outcomes"), "leave out FILE and --report"),
    ],
)
async def test_wrong_usage_is_one_line_with_the_fix(arguments: tuple[str, ...], sentence: str) -> None:
    """Nothing is begun."""
    ended = await in_this_process(
        {
            "TRADOVATE_NAME": "n",
            "TRADOVATE_PASSWORD": "p",
            "TRADOVATE_APP_ID": "a",
            "TRADOVATE_APP_VERSION": "1",
            "TRADOVATE_CID": "1",
            "TRADOVATE_SEC": "s",
            "TRADOVATE_DEVICE_ID": "d",
            "SECRET_KEY": "k" * 32,
        },
        "import",
        *arguments,
    )
    assert ended.code == 2
    assert sentence in ended.refusal
