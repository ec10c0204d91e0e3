"""The diagrams of the flows, held true: every move that a flow makes is drawn, and every move drawn is made."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.events import EVENTS
from tests.support.firm import application
from tests.support.views import NOW, known, order, view
from tests.support.views import RULES as DEFAULTS
from worker.engine.facts import stored_facts
from worker.engine.flows import FLOWS
from worker.engine.flows.base import DepartureView, End, Planned, Queue, Send, TurnView, View, Wait
from worker.engine.flows.departing import GIVES
from worker.partner.operation import Resend
from worker.partner.operations import OPERATIONS
from worker.results import NotExecuted, Rejected, Result, Succeeded, Unknown

README = Path(__file__).parents[2] / "worker" / "engine" / "flows" / "README.md"

FILE = "data:application/pdf;base64,QUJD"
RULES = replace(DEFAULTS, retry_for=timedelta(minutes=6))
"""Patience for two rounds: enough to see a flow turn, and to see it give up."""

NO = Rejected("no")
OUT = NotExecuted("tried for too long")
APART = NotExecuted("no result", divide=True)
DOUBT = Unknown("who knows")

DONE = Succeeded({})
NOTHING = Succeeded({"found": [], "accounts": []})
NAMED = frozenset({"trader.failed"})
"""Flows that name their states (fact `situation`). Drawn with planning as a node, through which each plan goes."""

FORGOTTEN = (
    "polls",
    "sent",
    "notYet",
    "requestedAt",
    "reported",
    "warnings",
    "message",
    "came",
    "since",
    "begun",
    "until",
)
"""Facts that grow and lead nowhere else."""


def events(topic: str) -> Sequence[dict[str, Any]]:
    """What the shop may send: the examples, or one event for each way that the flow may go."""
    bought: dict[str, Any] = {
        "orderId": "100",
        "traderId": "t",
        "user": {"name": "n", "email": "n@example.com", "firstName": "F", "lastName": "L"},
        "contactInfo": {"streetAddress1": "1 Main", "city": "A", "state": "TX", "country": "US", "phone": "+1512555"},
        "account": {"templateAccountId": 11, "initialBalance": 1},
    }
    passed = {"orderId": "F-1", "traderId": "t", "application": application()}
    ways: Mapping[str, Sequence[dict[str, Any]]] = {
        "trader.purchased": [bought, {name: bought[name] for name in ("orderId", "traderId", "account")}],
        "trader.failed": [{"traderId": "t", "orderId": "100"}, {"traderId": "t", "tradingPermissionIds": [21, 22]}],
        "trader.left": [{"traderId": "t"}, {"traderId": "t", "immediate": True}],
        "trader.passed": [passed, {**passed, "documents": [FILE] * 3}],
        "risk.changed": [
            {"accountId": 11, "postTradeRisk": {"doNotUnlock": True}},
            {"orderId": "100", "postTradeRisk": {"doNotUnlock": True}},
        ],
        "account.reset": [{"accountId": 11, "tradeDate": "2026-11-20"}, {"orderId": "100", "tradeDate": "2026-11-20"}],
    }
    return ways.get(topic) or list(map(dict, EVENTS[topic].examples))


def found(status: str) -> Succeeded:
    return Succeeded({"found": [[21, 5, 11, status], [22, 5, 11, status]], "accounts": [11]})


def seen(status: str, **more: Any) -> Succeeded:
    return Succeeded({"requestStatus": status, **more})


def limits(seen: bool, **found: Any) -> Succeeded:
    return Succeeded({"shown": seen, "limits": found})


def shown(time: str, seen: bool = False) -> Succeeded:
    return Succeeded({"shown": seen, "adminAction": "X", "adminTimestamp": f"2026-11-18T{time}:00.000Z"})


ENDS: Mapping[str, Sequence[Result]] = {
    "createEvaluationUsers": (Succeeded({"userId": 5}), NO, OUT, DOUBT),
    "createEvaluationAccounts": (
        Succeeded({"accountId": 11, "accountName": "EVAL100", "tradingPermissionId": 21}),
        Succeeded({"accountId": 11, "accountName": "EVAL100", "tradingPermissionId": None}),
        NO, OUT, DOUBT,
    ),
    "createTradingPermission": (Succeeded({"tradingPermissionId": 21}), NO, OUT, DOUBT),
    "createTradingPermission@live": (Succeeded({"tradingPermissionId": 21}), NO, OUT, DOUBT),
    "updateContactInfo": (DONE, NO),
    "revokeTradingPermissions": (DONE, NO, DOUBT, APART),
    "revokeTradingPermissions@find": (found("Accepted"), found("Revoked"), NOTHING, OUT),
    "cancelEverything": (DONE, NO, OUT),
    "cancelEverything@demo": (DONE, NO, OUT),
    "addEntitlementSubscription": (DONE, NO, OUT, DOUBT, Rejected("Live account is required")),
    "addEntitlementSubscription@again": (DONE, NO, OUT, DOUBT, Rejected("Live account is required")),
    "checkDuplicate": (DONE, DOUBT, OUT),
    "createPartnerSubaccountRequest": (Succeeded({"requestId": 3, "requestStatus": "Preapproved"}), NO, OUT, DOUBT),
    "submitPartnerSubaccountDocument": (DONE, NO),
    "getPartnerSubaccountRequestStatus": (seen("InReview"), seen("Approved", accountId=7), seen("Denied"), OUT),
    "requestTradingPermission": (Succeeded({"tradingPermissionId": 21}), NO, OUT, DOUBT),
    "updateUserAutoLiqs": (DONE, Succeeded({"shown": True}), NO, OUT, DOUBT),
    "updateUserAutoLiqs@read": (limits(True), limits(False), limits(False, doNotUnlock="x"), OUT),
    **{
        f"setAdminAutoLiqAction{word}": (shown("12:00"), Succeeded({"shown": True}), NO, OUT, DOUBT)
        for word in ("", "@unlock")
    },
    **{
        f"setAdminAutoLiqAction@read{word}": (shown("12:00", True), shown("12:00"), shown("12:01"), OUT)
        for word in ("", "_unlock")
    },
}  # fmt: skip
"""How steps may end whose flow asks for a value or a text."""


def ends(operation: str) -> Sequence[Result]:
    """How a step may end. Without a doubt, if it may be sent again whatever became of it."""
    sure = OPERATIONS[operation].recovery.resend is Resend.ALWAYS
    return ENDS.get(operation) or ((DONE, NO, OUT) if sure else (DONE, NO, OUT, DOUBT))


def situations(topic: str, event: dict[str, Any], facts: Mapping[str, Any]) -> Iterator[View]:
    """What the ledger may know when the flow is planned."""
    own = topic in ("trader.purchased", "trader.passed")
    kind = "passed" if topic == "trader.passed" else "purchased"
    orders = [(), (order(),), (order(state="open", account_id=None, permission_id=None),)]
    others = [
        None,
        order(kind=kind),
        order(kind=kind, state="open"),
        order(kind=kind, state="in_doubt", error_code="in_doubt"),
    ]
    users = (5,) if topic in ("trader.failed", "account.reset") or topic in IN_TURN else (None, 5)
    if topic in IN_TURN:
        for there, after in product(orders, (timedelta(0), timedelta(days=2))):
            for queue in queues(IN_TURN[topic], facts):
                yield view(topic, event, facts, user=5, known=there, after=after, queue=queue)
        return
    for user, after in product(users, (timedelta(0), timedelta(days=2))):
        for there in [()] if own else orders:
            for other in others if own and not facts else [None]:
                yield view(topic, event, facts, user=user, known=there, own=other, after=after)
        for departure in DEPARTURES:
            yield view(topic, event, facts, user=user, after=after, departures=[departure], unproven=GIVES)


IN_TURN = {"risk.changed": "limits", "account.locked": "action", "account.unlocked": "action"}
"""Flows whose events are executed one after the other, and their subject."""


def queues(subject: str, facts: Mapping[str, Any]) -> Iterator[Queue]:
    """It is the event's turn, or another event is before it, or has been executed although it came later."""
    if facts.keys() & {"reading", "answered", "rounds", "tries", "shown"}:
        yield Queue(5, subject, begun=True)
        if subject == "action":
            yield Queue(5, subject, begun=True, ousted=True)
        return
    yield Queue(5, subject, begun=False)
    for place in (4, 6):
        yield Queue(5, subject, begun=False, others=(TurnView(uuid.UUID(int=9), place, subject, NOW, False),))


DEPARTURES = [
    DepartureView(uuid.UUID(int=9), NOW + timedelta(hours=1), NOW + timedelta(hours=2)),
    DepartureView(uuid.UUID(int=9), NOW - timedelta(hours=1)),
]
"""One that stops what was asked for before, and one for whose end a purchase waits."""


def node(topic: str, planned: Planned) -> str:
    """The state: by the flow's own name if it has one, else by the step's operation."""
    match planned.decision:
        case Send() | Wait() if topic in NAMED:
            return str(known(planned)["situation"]["state"])
        case Send(operation=operation):
            return operation.replace("@", "_")
        case Wait():
            return "waiting"
        case End(status=status):
            return status.value


def moves(topic: str) -> set[tuple[str, str]]:
    """All moves of a flow, found by trying everything."""
    flow, made, seen = FLOWS[topic], set(), set()
    ahead: list[tuple[str, dict[str, Any], Planned]] = []
    planned_on: set[bytes] = set()

    def reach(origin: str, event: dict[str, Any], planned: Planned, *, by_plan: bool = True) -> None:
        state = node(topic, planned)
        made.update([(origin, "planning"), ("planning", state)] if by_plan and topic in NAMED else [(origin, state)])
        key = (state, {name: value for name, value in known(planned).items() if name not in FORGOTTEN})
        once = orjson.dumps([key, event], option=orjson.OPT_SORT_KEYS)
        if once not in seen and not isinstance(planned.decision, End):
            seen.add(once)
            ahead.append((state, event, planned))

    def plan(origin: str, event: dict[str, Any], facts: Mapping[str, Any]) -> None:
        for shown in situations(topic, event, facts):
            reach(origin, event, flow.plan(shown, RULES))

    for event in events(topic):
        plan("[*]", event, {})
    while ahead:
        origin, event, planned = ahead.pop()
        if isinstance(planned.decision, Wait):
            plan(origin, event, known(planned))
            continue
        assert isinstance(planned.decision, Send)
        for end in ends(planned.decision.operation):
            for shown in situations(topic, event, known(planned)):
                learned = flow.learn(shown, planned.decision.operation, end)
                if isinstance(learned, Planned):
                    reach(origin, event, learned, by_plan=False)
                    continue
                facts = stored_facts(learned)
                once = orjson.dumps([origin, event, facts], option=orjson.OPT_SORT_KEYS)
                if once not in planned_on:  # most situations teach a flow the same
                    planned_on.add(once)
                    plan(origin, event, facts)
    return made


def drawn(topic: str) -> set[tuple[str, str]]:
    """The moves in the README's diagram of a topic, without those to the end mark."""
    section = README.read_text().split(f"## `{topic}`", 1)[1].split("\n## ", 1)[0]
    diagram = re.search(r"```mermaid\n(.*?)```", section, re.DOTALL)
    assert diagram is not None
    arrows = re.findall(r"^ *(\S+) --> (\w+)", diagram[1], re.MULTILINE)
    return set(arrows)


@pytest.mark.parametrize("topic", list(FLOWS))
def test_the_diagram_is_true(topic: str) -> None:
    """What is drawn is what the code does, no more and no less."""
    made = moves(topic)
    assert sorted(drawn(topic) - made) == [], "drawn, and never made"
    assert sorted(made - drawn(topic)) == [], "made, and not drawn"


def test_now_is_in_a_trading_day() -> None:
    """Or a departure would never wait in these tests."""
    assert NOW.weekday() == 2
