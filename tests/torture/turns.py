"""What stands of an account's locks, unlocks and limits: the last one that was executed, in the ledger's order.

The order is known from outside where one event was accepted before another one without doubt: it stands before it in
one partition; or its outcome was there when the other one was sent; or its flow is older by more than a transaction may
last (a flow's id begins with the millisecond of its acceptance).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.torture.sent import Sent
from tests.torture.shop import Shop
from tests.torture.system import System

ACTIONS = {
    "lock": "LockTradingImmediately",
    "liquidate": "LiquidateImmediately",
    "close_only": "LiquidateOnlyModeImmediately",
}
"""What an event asks for, in the partner's words (`setAdminAutoLiqAction`)."""

SURELY_LATER = 6_000
"""Milliseconds. The server ends a transaction that does nothing for five seconds."""


def standing(system: System, shop: Shop) -> Iterator[tuple[Sequence[str], str]]:
    """Accounts on which something else stands: the ids of the events that may, and what is wrong.

    An event that has not ended may be in effect already; that it has no outcome is a breach of its own.
    """
    world, config = system.partner.sandbox.core.world, system.partner.sandbox.core.config
    shown = {"LiquidateImmediately": config.liquidate_shown, "LiquidateOnlyModeImmediately": config.close_only_shown}
    asked: dict[tuple[str, int], list[tuple[Sent, Mapping[str, Any], Any]]] = defaultdict(list)
    not_ended: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for sent in shop.sent.values():
        if (wanted := _wanted(sent, shown)) is None:
            continue
        (subject, value), outcome = wanted, shop.final(sent)
        account = sent.body.get("accountId") or shop.account(sent.body.get("orderId"))
        if outcome is None and account is not None:
            not_ended[subject, account].append(value)
        elif outcome is not None and outcome["accountId"] is not None:
            asked[subject, outcome["accountId"]].append((sent, outcome, value))
    for (subject, account), events in asked.items():
        if subject == "action":
            stands = world.risk_statuses.rows[account]["adminAction"]
        else:
            stands = world.auto_liqs.rows[account].get("dailyLossAutoLiq")
        last = list(_last(shop, events))
        if last and stands not in [*(value for _, value in last), *not_ended[subject, account]]:
            ids = [sent.event_id for sent, _ in last]
            yield ids, f"{subject} of account {account}: {stands} stands, and the last were {last_values(last)}"


def _wanted(sent: Sent, shown: Mapping[str, str]) -> tuple[str, Any] | None:
    """What an event asks for, of which subject; None for an event of another kind. `shown`: how an action is shown."""
    if sent.topic in ("account.locked", "account.unlocked"):
        action = ACTIONS[sent.body["action"]] if sent.topic == "account.locked" else "Normal"
        return "action", shown.get(action, action)
    return ("limits", sent.body["postTradeRisk"]["dailyLossAutoLiq"]) if sent.topic == "risk.changed" else None


def last_values(last: Sequence[tuple[Sent, Any]]) -> str:
    """For people."""
    return ", ".join(f"{sent.event_id} ({value})" for sent, value in last)


def _last(shop: Shop, events: Sequence[tuple[Sent, Mapping[str, Any], Any]]) -> Iterator[tuple[Sent, Any]]:
    """Those of one subject and account that may be the last one in effect; nothing if none was executed."""
    done = [(sent, outcome) for sent, outcome, _ in events if outcome["status"] == "succeeded"]
    if not done:
        return
    for sent, outcome, value in events:
        # What was sent and has another end may be in effect all the same.
        if outcome["status"] != "succeeded" and outcome["attempts"] == 0:
            continue
        if not any(before(shop, (sent, outcome), other) for other in done if other[0] is not sent):
            yield sent, value


def before(shop: Shop, one: tuple[Sent, Mapping[str, Any]], other: tuple[Sent, Mapping[str, Any]]) -> bool:
    """Whether the ledger accepted `one` before `other` without doubt."""
    (first, ended), (second, _) = one, other
    if first.event_id in shop.heard_before[second.event_id]:
        return True
    there, here = shop.offsets.get(first.event_id), shop.offsets.get(second.event_id)
    if there is not None and here is not None and there[:2] == here[:2]:
        return there[2] < here[2]
    return _accepted(other[1]) - _accepted((first, ended)[1]) > SURELY_LATER


def _accepted(outcome: Mapping[str, Any]) -> int:
    """Epoch milliseconds."""
    return int(outcome["flowId"].replace("-", "")[:12], 16)
