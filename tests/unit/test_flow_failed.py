"""`trader.failed` decides: what goes at once, what is looked for, what is waited for, what is left alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from schemas.outcomes import ErrorCode
from tests.support.views import NOW, known, learn, order, plan, sent, view
from worker.engine.flows import FLOWS
from worker.engine.flows.base import SUCCEEDED, End, Planned, Send, Wait
from worker.results import NotExecuted, Rejected, Succeeded

TOPIC = "trader.failed"
REVOKE, FIND = "revokeTradingPermissions", "revokeTradingPermissions@find"


def event(**fields: Any) -> dict[str, Any]:
    return {"eventId": "e", "traderId": "t", **fields}


def found(*rows: list[Any], accounts: tuple[int, ...] = ()) -> Succeeded:
    """A look's answer: permission, user, account, status."""
    return Succeeded({"found": list(rows), "accounts": list(accounts)})


def ended(planned: Planned) -> End:
    assert isinstance(planned.decision, End), planned.decision
    return planned.decision


def read(planned: Planned, asked: dict[str, Any], **more: Any) -> Planned:
    """The flow after what it has found was loaded."""
    assert isinstance(planned.decision, Wait)
    assert planned.decision.until == NOW
    return plan(TOPIC, asked, planned.facts, **more)


def test_what_the_ledger_knows_goes_without_a_look() -> None:
    """The order's permission is revoked by the first call; the rest of its account is looked for after that."""
    asked = event(orderId="100")
    first = plan(TOPIC, asked, known=[order()])
    assert (sent(first).operation, known(first)["situation"]["permissionIds"]) == (REVOKE, [21])
    after = learn(TOPIC, asked, first.facts, REVOKE, Succeeded({}), known=[order()])
    assert (sent(after).operation, known(after)["situation"]["accountIds"]) == (FIND, [11])


def test_a_purchase_under_way_is_waited_for() -> None:
    """Until its account has its permission; contact data are not waited for."""
    asked = event(orderId="100")
    making = order(state="open", account_id=None, permission_id=None, facts={})
    bare = order(state="open", permission_id=None)
    for unfinished in (making, bare):
        decision = plan(TOPIC, asked, known=[unfinished]).decision
        assert isinstance(decision, Wait)
        assert list(decision.keys) == ["order:purchased:100"]
    assert sent(plan(TOPIC, asked, known=[order(state="open")])).operation == REVOKE


def test_an_unknown_order_is_looked_for_by_its_name_and_then_waited_for() -> None:
    """At once by the name that follows from it, then for UNKNOWN_WAIT_SECONDS, then it is not found."""
    asked = event(orderId="100")
    first = plan(TOPIC, asked)
    assert known(first)["situation"] == {"state": "looking_up", "name": "EVAL100"}
    nothing = learn(TOPIC, asked, first.facts, FIND, found())
    waiting = read(nothing, asked)
    assert isinstance(waiting.decision, Wait)
    assert waiting.decision.until == NOW + timedelta(seconds=900)
    late = plan(TOPIC, asked, waiting.facts, after=timedelta(seconds=900))
    assert ended(late).error_code is ErrorCode.NOT_FOUND


def test_every_permission_of_an_own_account_is_revoked_for_each_user() -> None:
    """On the trader's own account another trader's permission goes too; on an unknown one it is a conflict."""
    asked = event(accountId=11)
    looked = plan(TOPIC, asked, known=[order(permission_id=None)])
    answer = found([21, 5, 11, "Accepted"], [22, 6, 11, "Accepted"], accounts=(11,))
    own = learn(TOPIC, asked, looked.facts, FIND, answer, known=[order(permission_id=None)])
    revoking = read(own, asked, known=[order(permission_id=None)], owners={6: "other"})
    assert known(revoking)["situation"]["permissionIds"] == [21, 22]
    unknown = learn(TOPIC, asked, plan(TOPIC, asked).facts, FIND, answer)
    revoking = read(unknown, asked, owners={6: "other"})
    assert known(revoking)["situation"]["permissionIds"] == [21]
    rest = learn(TOPIC, asked, revoking.facts, REVOKE, Succeeded({}), owners={6: "other"})
    assert ended(rest).error_code is ErrorCode.CONFLICT
    assert "22" in (ended(rest).error_text or "")


def test_another_traders_order_account_and_permission_are_untouched() -> None:
    """Conflicts are reported without a single call."""
    theirs = order(trader="other")
    for asked in (event(orderId="100"), event(accountId=11), event(tradingPermissionIds=[21])):
        end = ended(plan(TOPIC, asked, known=[theirs]))
        assert end.error_code is ErrorCode.CONFLICT


def test_already_revoked_is_done() -> None:
    """A permission that was revoked before is reported as revoked now, and nothing is sent."""
    asked = event(tradingPermissionIds=[31])
    looked = learn(TOPIC, asked, plan(TOPIC, asked).facts, FIND, found([31, 5, 11, "Revoked"]))
    done = read(looked, asked)
    assert done.decision == SUCCEEDED
    assert (known(done)["tradingPermissionIds"], known(done)["tradingPermissionId"]) == ([31], 31)


def test_a_refusal_of_several_is_asked_one_by_one() -> None:
    """The bad permission is named, the others are revoked."""
    asked = event(tradingPermissionIds=[31, 32])
    rows = [[31, 5, 11, "Accepted"], [32, 5, 12, "Accepted"]]
    both = read(learn(TOPIC, asked, plan(TOPIC, asked).facts, FIND, found(*rows)), asked)
    assert (known(both)["situation"]["permissionIds"], sent(both).weight) == ([31, 32], 2)
    one = learn(TOPIC, asked, both.facts, REVOKE, Rejected("no"))
    assert known(one)["situation"]["permissionIds"] == [31]
    other = learn(TOPIC, asked, one.facts, REVOKE, Rejected("no"))
    assert known(other)["situation"]["permissionIds"] == [32]
    end = learn(TOPIC, asked, other.facts, REVOKE, Succeeded({}))
    assert (ended(end).error_code, ended(end).error_text) == (ErrorCode.REJECTED, "Permission 31: no")
    assert known(end)["tradingPermissionIds"] == [32]


def test_a_retry_forgets_what_went_wrong_and_keeps_what_is_revoked() -> None:
    """An operator's retry looks again for what was refused or missing."""
    asked = event(tradingPermissionIds=[31, 32])
    again = plan(
        TOPIC,
        asked,
        {"tradingPermissionIds": [31], "refused": {"32": {"code": "rejected", "text": "no"}}, "ended": True},
    )
    assert known(again)["situation"]["permissionIds"] == [32]


def test_a_thousand_permissions_leave_room_for_others() -> None:
    """One event takes no more than half a call."""
    ids = list(range(1, 1001))
    asked = event(tradingPermissionIds=ids)
    rows = [[each, 5, each, "Accepted"] for each in ids]
    some = read(learn(TOPIC, asked, plan(TOPIC, asked).facts, FIND, found(*rows)), asked)
    assert sent(some).weight == 50
    item = FLOWS[TOPIC].item(view(TOPIC, asked, some.facts), REVOKE, None)  # type: ignore[arg-type]
    assert len(item["tradingPermissionIds"]) == 50


def learn_found(asked: dict[str, Any], *rows: list[Any]) -> Planned:
    """The flow after its look has found these permissions."""
    return learn(TOPIC, asked, plan(TOPIC, asked).facts, FIND, found(*rows))


def test_what_fails_together_is_revoked_one_by_one_and_what_fails_alone_comes_last() -> None:
    """One permission that makes Tradovate fail keeps none of the others alive."""
    asked = event(tradingPermissionIds=[31, 32, 33])
    rows = [[each, 5, each, "Approved"] for each in (31, 32, 33)]
    looked = read(learn_found(asked, *rows), asked)
    assert known(looked)["situation"]["permissionIds"] == [31, 32, 33]
    fails, tried = NotExecuted("no result", divide=True), []
    planned = learn(TOPIC, asked, looked.facts, REVOKE, fails)
    while isinstance(planned.decision, Send):
        (one,) = known(planned)["situation"]["permissionIds"]
        tried.append((one, known(planned)["situation"].get("othersWait", False)))
        last = one == 31 and not known(planned)["situation"].get("othersWait", False)
        end = NotExecuted("no result") if last else fails if one == 31 else Succeeded({})
        planned = learn(TOPIC, asked, planned.facts, REVOKE, end)
    assert tried == [(31, True), (32, True), (33, True), (31, False)]
    assert ended(planned).error_code is ErrorCode.GAVE_UP
    assert known(planned)["tradingPermissionIds"] == [32, 33]
