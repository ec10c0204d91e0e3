"""What must hold on the topics: outcomes, dead letters and signatures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.stage import FINAL
from tests.torture.oracle_effects import refused
from tests.torture.promises import Breach, Promise
from tests.torture.sent import Sent
from tests.torture.shop import Shop
from tests.torture.system import System
from worker.sandbox.vendor_texts import TEXTS

NOTED_WITHIN = 16.0
"""Seconds before a record in which what keeps it from being noted may have begun: the longest freeze or cut link."""

NO_PERMISSION = TEXTS["no_active_permission"]

FAILS_AS = frozenset({"conflict", "not_found", "cancelled"})
"""Error codes that need no misfortune: what the shop sends leads to them by itself."""


def said(system: System, shop: Shop) -> Iterator[Breach]:
    """What is wrong with outcomes, signatures and dead letters that are there, whatever else is to come."""
    events = {each.event_id: each for each in [*shop.sent.values(), *shop.signed_events()]}
    for event_id, heard in list(system.listener.by_event.items()):
        if not heard:
            continue
        sent = events.get(event_id)
        if sent is None:
            yield Breach(Promise.OF_AN_EVENT, event_id, event_id)
            continue
        yield from _ends(sent, heard)
        times = system.listener.times_of(event_id)
        for outcome_id, at in times.items():
            for again in _groundless(at, system.trouble["run"]):
                yield Breach(Promise.PUBLISHED_ONCE, f"{event_id}, outcome {outcome_id}: {again}", event_id)
    for event_id, records in list(system.listener.signed.items()):
        yield from _signed(system, shop, event_id, records)
    for letter in system.listener.dead_letters:
        if (letter.topic, letter.value or b"") not in shop.bad_values:
            yield Breach(Promise.DEAD_LETTER, f"{letter.topic}: {letter.headers}")


def _ends(sent: Sent, heard: Sequence[dict[str, Any]]) -> Iterator[Breach]:
    """`heard`: its outcomes in the order of the topic."""
    event_id, statuses = sent.event_id, [each["status"] for each in heard]
    ends = {each["outcomeId"]: each for each in heard if each["status"] in FINAL}
    if len(ends) > 1:
        texts = [(each["status"], each["errorCode"], each["errorText"]) for each in ends.values()]
        yield Breach(Promise.ONE_END, f"{sent.topic} {event_id} has {len(ends)}: {texts}", event_id)
    if any(later == "pending" and earlier in FINAL for earlier, later in itertools.pairwise(statuses)):
        yield Breach(Promise.PENDING, f"{event_id}: {statuses}", event_id)
    for end in ends.values():
        if sent.invalid != (end["errorCode"] == "invalid"):
            yield Breach(Promise.INVALID, f"{event_id}: {end}", event_id)
        elif not _explained(sent, end):
            yield Breach(Promise.REASON, f"{sent.topic} {event_id}: {end}", event_id)


def _explained(sent: Sent, end: dict[str, Any]) -> bool:
    """Whether an event may end so. A refusal needs the partner's words, and only what cannot be looked up may stay
    doubtful.
    """
    match end["status"], end["errorCode"]:
        case "succeeded", _:
            return True
        case "in_doubt", _:
            return sent.topic == "trader.passed"
        case _, "rejected":
            # A reset of an account whose trader has failed meanwhile.
            return refused(end) or (sent.topic == "account.reset" and end["errorText"] == NO_PERMISSION)
        case _, code:
            return code in FAILS_AS or sent.invalid


def _signed(system: System, shop: Shop, event_id: str, records: Sequence[dict[str, Any]]) -> Iterator[Breach]:
    """One signature's records: each with its user, and more than one only with a reason."""
    signal = event_id.removeprefix("mda-")
    user = shop.signatures.get(int(signal)) if signal.isdecimal() else None
    for record in records:
        if user is None or record["body"].get("userId") != user or record["key"] != str(user).encode():
            yield Breach(Promise.SIGNED, f"{event_id} is {record}; the signature is that of user {user}", event_id)
    for again in _groundless([record["at"] for record in records], system.trouble["bridge"]):
        yield Breach(Promise.SIGNED, f"signal {signal}: {again}", event_id)


def _groundless(times: Sequence[float], trouble: Sequence[float]) -> Iterator[str]:
    """Repeats between which and the record before no member of the kind was hit, nor what it notes its work with."""
    for before, again in itertools.pairwise(sorted(times)):
        if not any(before - NOTED_WITHIN <= at <= again for at in trouble):
            yield f"published again {again - before:.1f} s later, and nobody was hit in between"


def missing(system: System, shop: Shop, kept: frozenset[tuple[str, int, int]]) -> Iterator[Breach]:
    """What never came: outcomes, signatures, dead letters. `kept`: places of dead letters that the ledger keeps."""
    made, most = system.partner.sandbox.core.calls.total, int(system.env["TRADOVATE_HOURLY_BUDGET"])
    spent = f" ({made} calls: the budget of the hour is used up)" if made > 0.95 * most else ""
    for sent in [*shop.sent.values(), *shop.signed_events()]:
        if system.listener.final(sent.event_id) is None:
            yield Breach(Promise.ENDS, f"{sent.topic} {sent.event_id} has none{spent}", sent.event_id)
    for signal in shop.signatures:
        if not system.listener.signed.get(f"mda-{signal}"):
            yield Breach(Promise.SIGNED, f"signal {signal} is not on md.signed", f"mda-{signal}")
    found = kept | {letter.place for letter in system.listener.dead_letters}
    for place in shop.bad_places - found:
        yield Breach(Promise.DEAD_LETTER, f"the record {place} is none")
