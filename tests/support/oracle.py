"""The promises, held against what the partner executed, what was published, and what the ledger kept.

- once in effect: one account an order, one user a trader, one permission an account
- one outcome: exactly one final outcome an event; a repeat only where a replica was killed, with the same id
- nothing stuck: no flow open, no step under way, no lease held, no outcome unpublished
- never together: no two calls in flight that name one trader; no call into a lock-out; never a third session
- private: no personal value in a log, an outcome or (once all has ended) the ledger
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from tests.support.events import personal
from tests.support.stage import FINAL, Stage
from tests.support.waiting import eventually
from worker.ledger.outbox import OUTCOME_LEASE
from worker.outbox.publisher import SWEEP_EVERY

_TABLES = ("flow", "step", "trader", "business_order", "outcome", "call", "hold", "session", "host", "note")


async def holds_all(stage: Stage, *, killed: bool = False) -> None:
    """Every promise. `killed`: a replica was, so that an outcome may have been published twice."""
    once_in_effect(stage)
    one_outcome_an_event(stage, killed=killed)
    await nothing_stuck(stage)
    never_together(stage)
    await calls_know_their_flows(stage)
    await private(stage)


def once_in_effect(stage: Stage) -> None:
    """One account an order, one user a trader, one permission an account; and they are those of the outcomes."""
    effects = stage.effects
    assert effects["twice"] == {}, effects["twice"]
    orders = {event["orderId"] for event in stage.events}
    traders = {event["traderId"] for event in stage.events}
    assert len(effects["accounts_by_name"]) <= len(orders)
    assert len(effects["users_by_name"]) <= len(traders)
    accounts: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    users: dict[str, set[int]] = defaultdict(set)
    for outcome in stage.wire.outcomes:
        if (outcome["topic"], outcome["status"]) == ("trader.purchased", "succeeded"):
            ids = outcome["accountId"], outcome["accountName"], outcome["tradingPermissionId"]
            accounts[outcome["orderId"]].add(ids)
            users[outcome["traderId"]].add(outcome["userId"])
            permission = stage.partner.sandbox.core.world.permissions.rows[outcome["tradingPermissionId"]]
            assert (permission["accountId"], permission["userId"]) == (outcome["accountId"], outcome["userId"])
    assert all(len(ids) == 1 for ids in accounts.values()), accounts
    assert all(len(ids) == 1 for ids in users.values()), users
    of_orders = [ids for (ids,) in accounts.values()]
    assert len({ids[0] for ids in of_orders}) == len(of_orders), "two orders share an account"


def one_outcome_an_event(stage: Stage, *, killed: bool = False) -> None:
    """Exactly one final outcome an event."""
    found: dict[str, list[str]] = defaultdict(list)
    for outcome in stage.wire.outcomes:
        if outcome["status"] in FINAL:
            found[outcome["eventId"]].append(outcome["outcomeId"])
    for event in stage.events:
        ids = found[event["eventId"]]
        assert len(set(ids)) == 1, f"{event['eventId']}: {len(set(ids))} outcomes"
        assert killed or len(ids) == 1, f"{event['eventId']}: published {len(ids)} times"


async def nothing_stuck(stage: Stage) -> None:
    """No flow open, no step under way or leased, no outcome unpublished."""

    async def quiet() -> bool:
        flows = await stage.rows("select event_id, state from flow where state = 'open'")
        steps = await stage.rows(
            "select operation, state from step where lease is not null"
            " or state in ('due', 'waiting', 'in_flight', 'unknown')"
        )
        outcomes = await stage.rows("select event_id from outcome where published_at is null")
        assert not flows, [dict(row) for row in flows[:5]]
        assert not steps, [dict(row) for row in steps[:5]]
        assert not outcomes, [dict(row) for row in outcomes[:5]]
        return True

    # The note that an outcome is published is written a moment after it can be read; if its replica is killed between,
    # another one looks for it when the lease has run out.
    await eventually(quiet, OUTCOME_LEASE + SWEEP_EVERY + 8)


async def calls_know_their_flows(stage: Stage) -> None:
    """A call, and each read of a look-up, names the flows whose steps name it, and no other."""
    wrong = await stage.rows(
        "select call.id, kind, flow_ids, there.flows from call left join ("
        " select call_id, array_agg(distinct flow_id order by flow_id) as flows"
        " from step, unnest(call_ids) as c (call_id) group by 1) as there on there.call_id = call.id"
        " where array(select distinct unnest(flow_ids) order by 1) is distinct from coalesce(flows, '{}')"
    )
    assert not wrong, [dict(row) for row in wrong]


def never_together(stage: Stage) -> None:
    """No two calls in flight named one trader; nobody called into a lock-out; nobody opened a third session."""
    state = stage.state
    overlaps = list(stage.partner.sandbox.core.calls.overlaps)
    assert state["calls"]["same_trader_overlaps"] == 0, overlaps[:5]
    assert state["calls"]["during_lockout"] == 0
    assert state["sessions"]["most_at_once"] <= 2
    assert state["sessions"]["evicted"] == 0


async def private(stage: Stage, *, ledger: bool = True) -> None:
    """No personal value in a log, an outcome or, once all has ended, the `ledger`."""
    secrets = set().union(*(personal(event) for event in stage.events))
    _holds_none(secrets, "a log", stage.logs)
    _holds_none(secrets, "an outcome", [json.dumps(outcome) for outcome in stage.wire.outcomes])
    if ledger:
        for table in _TABLES:
            rows = await stage.rows(f"select t::text as line from {table} t")  # noqa: S608 - names of ours
            _holds_none(secrets, f"the table {table}", [row["line"] for row in rows])
        sealed = await stage.rows("select event_id from flow where body is not null and state <> 'in_doubt'")
        assert not sealed, "bodies of ended flows are kept"


_MANY = 100
"""Secrets from which on it is quicker to leave out at once what cannot be there."""

_PIECE = 6
"""Characters."""


def _holds_none(secrets: Iterable[str], where: str, texts: Iterable[str]) -> None:
    everything = "\n".join(texts)
    looked_for = {secret: secret for secret in secrets}
    looked_for |= {secret.encode().hex(): f"{secret}, in hexadecimal," for secret in looked_for}
    if len(looked_for) > _MANY:
        pieces = {everything[at : at + _PIECE] for at in range(len(everything) - _PIECE + 1)}
        looked_for = {
            text: name
            for text, name in looked_for.items()
            if len(text) < _PIECE or (text[:_PIECE] in pieces and text[-_PIECE:] in pieces)
        }
    for text, name in looked_for.items():
        assert text not in everything, f"{name} is in {where}"
