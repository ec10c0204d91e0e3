"""The oracle: each rule finds what it is for, and nothing where nothing is wrong."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import Any

import pytest

from tests.torture.breaks import BREAKS, ONLY_BY_UNIT_TESTS
from tests.torture.calm import calm, revocations
from tests.torture.listener import Listener
from tests.torture.oracle_calls import GRACE, in_lock_outs
from tests.torture.oracle_effects import asked_for, once, out, proven
from tests.torture.oracle_privacy import seen, shown
from tests.torture.oracle_records import NOTED_WITHIN, missing, said
from tests.torture.promises import Promise
from tests.torture.sent import Sent
from tests.torture.shop import Shop
from tests.torture.system import LOCKED, LOCKOUT
from tests.torture.turns import standing
from tests.torture.watch import Watch
from worker.kafka.topics import TopicNames
from worker.sandbox import Sandbox, SandboxConfig
from worker.sandbox.recorded_calls import CallRecord

NOW = 1_000_000.0


class Scene:
    """What the oracle reads: a partner that nobody serves, topics that nobody has, and a shop that sends nothing."""

    def __init__(self) -> None:
        sandbox = Sandbox(SandboxConfig())
        self.core = sandbox.core
        self.system: Any
        self.listener = Listener("", TopicNames(""), (), 1)
        system: Any = SimpleNamespace(
            listener=self.listener,
            control=sandbox.control,
            partner=SimpleNamespace(sandbox=sandbox),
            trouble={"run": [], "bridge": []},
            members=[SimpleNamespace(name="run 1", said="")],
            env={"TRADOVATE_HOURLY_BUDGET": "4500"},
        )
        self.system = system
        self.shop = Shop(system, random.Random(1), 1.0)

    def bought(self) -> dict[str, Any]:
        """A purchase that has succeeded, and is at the partner; its outcome."""
        sent = self.shop._purchase()
        self.shop.sent[sent.event_id] = sent
        world, effects = self.core.world, self.core.effects
        user = world.users.add({"name": sent.body["user"]["name"]})["id"]
        account = world.accounts.add({"name": f"EVAL{sent.body['orderId']}", "userId": user})["id"]
        permission = world.permissions.add({"accountId": account, "userId": user, "status": "Accepted"})["id"]
        effects.users_by_name[sent.body["user"]["name"]] += 1
        effects.accounts_by_name[f"EVAL{sent.body['orderId']}"] += 1
        effects.permissions[f"{account}:{user}"] += 1
        return self.said(sent, userId=user, accountId=account, tradingPermissionId=permission)

    def said(self, sent: Sent, status: str = "succeeded", at: float = NOW, **fields: Any) -> dict[str, Any]:
        """An outcome of an event is published."""
        outcome: dict[str, Any] = {"eventId": sent.event_id, "outcomeId": f"{sent.event_id} {status}", "status": status}
        outcome |= {"errorCode": None, "errorText": None, "userId": None, "accountId": None, **fields}
        self.heard("trader.purchased.outcome", json.dumps(outcome).encode(), at)
        return outcome

    def heard(self, topic: str, value: bytes, at: float = NOW, **more: Any) -> None:
        """A record is on a topic."""
        record = SimpleNamespace(value=value, timestamp=at * 1000, key=None, headers=())
        self.listener._hear(topic, SimpleNamespace(**{**vars(record), **more}))

    def breaches(self) -> list[Promise]:
        """What is certain, and what has not come."""
        parts = (self.system, self.shop)
        found = [*once(*parts), *asked_for(*parts), *proven(*parts), *out(*parts), *said(*parts)]
        found += [*missing(*parts, frozenset()), *seen(self.shop, shown(self.system))]
        return sorted({each.promise for each in found})


@pytest.fixture
def scene() -> Scene:
    """One purchase, with which nothing is wrong."""
    made = Scene()
    made.bought()
    assert made.breaches() == []
    return made


def test_each_promise_has_a_program_that_breaks_it() -> None:
    """A promise is looked at by a rule that a broken program fails, or by the tests below."""
    shown = {promise for each in BREAKS.values() for promise in each.finds}
    assert shown.isdisjoint(ONLY_BY_UNIT_TESTS)
    assert shown | ONLY_BY_UNIT_TESTS.keys() == set(Promise)


def _first(scene: Scene) -> Sent:
    return next(iter(scene.shop.sent.values()))


def _twice(family: str, promise: Promise) -> Any:
    def happens(scene: Scene) -> None:
        getattr(scene.core.effects, family)["1:2"] += 2

    return pytest.param(happens, promise, id=f"two in {family}")


def _another_account(scene: Scene) -> None:
    scene.core.effects.accounts_by_name["EVAL7"] += 1


def _no_outcome(scene: Scene) -> None:
    scene.listener.by_event.clear()


def _two_ends(scene: Scene) -> None:
    scene.said(_first(scene), outcomeId="another", **_ids(scene))


def _ids(scene: Scene) -> dict[str, Any]:
    outcome = scene.listener.outcomes[0]
    return {name: outcome[name] for name in ("userId", "accountId", "tradingPermissionId")}


def _pending_late(scene: Scene) -> None:
    scene.said(_first(scene), "pending")


def _again(scene: Scene) -> None:
    scene.said(_first(scene), at=NOW + 20, **_ids(scene))


def _invented(scene: Scene) -> None:
    scene.said(Sent("trader.purchased", {"eventId": "of nobody"}, b""))


def _failed_for_nothing(scene: Scene) -> None:
    sent = scene.shop._purchase()
    scene.shop.sent[sent.event_id] = sent
    scene.said(sent, "failed", errorCode="rejected", errorText="HTTP 502")


def _valid_is_invalid(scene: Scene) -> None:
    sent = scene.shop._purchase()
    scene.shop.sent[sent.event_id] = sent
    scene.said(sent, "failed", errorCode="invalid")


def _still_in(scene: Scene) -> None:
    sent = scene.shop.failing(next(iter(scene.shop.orders)))
    scene.shop.sent[sent.event_id] = sent
    scene.said(sent, tradingPermissionIds=[])


def _other_permission(scene: Scene) -> None:
    scene.core.world.permissions.rows[scene.listener.outcomes[0]["tradingPermissionId"]]["accountId"] = 1


def _no_dead_letter(scene: Scene) -> None:
    scene.shop.bad_places.add(("md.signed", 0, 7))


def _good_dead_letter(scene: Scene) -> None:
    headers = [("dlq-partition", b"0"), ("dlq-offset", b"1"), ("dlq-error", b"no reason")]
    scene.heard("md.signed.dlq", b"{}", headers=headers)


def _shown_in_a_dead_letter(scene: Scene) -> None:
    scene.shop.bad_values.add(("md.signed", b"{}"))
    secret = next(iter(scene.shop.secrets)).encode()
    headers = [("dlq-partition", b"0"), ("dlq-offset", b"1"), ("dlq-error", b"not " + secret)]
    scene.heard("md.signed.dlq", b"{}", headers=headers)


def _logged(scene: Scene) -> None:
    scene.system.members[0].said = f"got {next(iter(scene.shop.secrets))}"


def _signed(scene: Scene, user: int, *times: float) -> None:
    scene.shop.signatures[5] = 29_721
    scene.core.effects.entitlements["29721:1"] += 1
    for at in times:
        body = {"eventId": "mda-5", "userId": user}
        scene.heard("md.signed", json.dumps(body).encode(), at, key=str(user).encode())
    scene.said(Sent("md.signed", {"eventId": "mda-5"}, b""), userId=29_721, entitlementId=1)


@pytest.mark.parametrize(
    ("happens", "promise"),
    [
        _twice("users_by_email", Promise.ONE_USER),
        _twice("accounts_by_name", Promise.ONE_ACCOUNT),
        _twice("entitlements", Promise.ONE_ENTITLEMENT),
        _twice("documents", Promise.ONE_DOCUMENT),
        (_another_account, Promise.ASKED_FOR),
        (_no_outcome, Promise.ENDS),
        (_two_ends, Promise.ONE_END),
        (_pending_late, Promise.PENDING),
        (_again, Promise.PUBLISHED_ONCE),
        (_invented, Promise.OF_AN_EVENT),
        (_failed_for_nothing, Promise.REASON),
        (_valid_is_invalid, Promise.INVALID),
        (_still_in, Promise.OUT),
        (_other_permission, Promise.PROVEN),
        (_no_dead_letter, Promise.DEAD_LETTER),
        (_good_dead_letter, Promise.DEAD_LETTER),
        (_shown_in_a_dead_letter, Promise.PERSONAL),
        (_logged, Promise.PERSONAL),
        (lambda scene: _signed(scene, 29_721), Promise.SIGNED),
        (lambda scene: _signed(scene, 29_722, NOW), Promise.SIGNED),
        (lambda scene: _signed(scene, 29_721, NOW, NOW + 20), Promise.SIGNED),
    ],
)
def test_a_breach_is_found(scene: Scene, happens: Any, promise: Promise) -> None:
    """What is not as it was promised is said, by the rule for it."""
    happens(scene)
    assert promise in scene.breaches()


def test_a_repeat_has_a_reason_where_its_member_was_hit(scene: Scene) -> None:
    """A kill shortly before the first record, or between the two, and no other misfortune, excuses a second one."""
    _again(scene)
    for at, excused in ((NOW - NOTED_WITHIN - 1, False), (NOW - 1, True), (NOW + 19, True), (NOW + 21, False)):
        scene.system.trouble = {"run": [at], "bridge": []}
        assert (scene.breaches() == []) is excused, at


def test_one_signature_has_one_record(scene: Scene) -> None:
    """A signature with its record, its outcome and its entitlement is no breach."""
    _signed(scene, 29_721, NOW)
    assert scene.breaches() == []


def _call(number: int, at: float, *, refused: bool) -> CallRecord:
    return CallRecord(number, at, "live", "/user/find", "http", 1, None, 0, locked_out=refused, ended_at=at)


@pytest.mark.parametrize(
    ("later", "refused", "found"),
    [
        (GRACE - 1, True, False),
        (GRACE + 1, True, True),
        (LOCKED + 1, False, True),
        (LOCKOUT + 1, False, False),
        (LOCKOUT + 1, True, False),  # another lock-out, which began meanwhile
    ],
)
def test_a_lock_out_lasts_as_long_as_the_setting_says(later: float, refused: bool, found: bool) -> None:
    """Calls that were on their way may come; then none does, also where the partner answers again before."""
    records = [_call(1, NOW - 1, refused=False), _call(2, NOW, refused=True), _call(3, NOW + later, refused=refused)]
    assert bool(list(in_lock_outs(records))) is found


async def test_a_member_that_is_not_ready_again_is_found() -> None:
    """Everything works again, all events have ended, and still a member says that it is not ready."""

    async def done() -> None:
        pass

    async def not_ready(timeout: float) -> None:
        raise AssertionError(f"not ready within {timeout} s: run 1")

    scene = Scene()
    scene.system.restore, scene.system.ready = done, not_ready
    assert {each.promise for each in await calm(scene.system, scene.shop, Watch(None, 0))} == {Promise.READY}


@pytest.mark.parametrize("has", [True, False])
def test_a_departure_ends_with_nothing_left_to_cancel(scene: Scene, *, has: bool) -> None:
    """One that has cancelled nothing is right where nothing was left, and wrong where something still is."""
    user = scene.core.world.users.add({"name": "leaver1"})["id"]
    if has:
        scene.core.world.permissions.add({"accountId": 1, "userId": user, "status": "Accepted"})
    sent = Sent("trader.left", {"eventId": "left-1", "traderId": "cust-1"}, b"cust-1")
    scene.shop.sent[sent.event_id] = sent
    scene.said(sent, userId=user)
    assert (Promise.PROVEN in scene.breaches()) is has


@pytest.mark.parametrize("has_ended", [True, False])
def test_limits_that_stand_may_be_of_an_event_that_has_not_ended(*, has_ended: bool) -> None:
    """It may be in effect already. Once it has ended, only the last one may stand."""
    scene = Scene()
    account = scene.bought()["accountId"]
    order = _first(scene).body["orderId"]
    first, second = (
        Sent(
            "risk.changed",
            {"eventId": f"changed-{limit}", "orderId": order, "postTradeRisk": {"dailyLossAutoLiq": limit}},
            b"",
        )
        for limit in (700, 800)
    )
    scene.shop.sent |= {first.event_id: first, second.event_id: second}
    scene.core.world.auto_liqs.rows[account] = {"dailyLossAutoLiq": 800}
    flow = "01a223f9-0530-7fd8-b163-1093c87b15d8"
    scene.said(first, accountId=account, attempts=1, flowId=flow)
    if has_ended:
        scene.shop.heard_before |= {first.event_id: frozenset({second.event_id}), second.event_id: frozenset()}
        scene.said(second, accountId=account, attempts=1, flowId=flow)
    assert bool(list(standing(scene.system, scene.shop))) is has_ended


async def test_bad_input_does_not_end_the_look_for_revocations() -> None:
    """A purchase without an order, whose dead letter has not come yet, is passed over."""
    scene = Scene()
    bad = Sent("trader.purchased", {"eventId": "bad-1"}, b"cust-1", invalid=True)
    scene.shop.sent[bad.event_id] = bad
    assert await revocations(scene.shop) == []
