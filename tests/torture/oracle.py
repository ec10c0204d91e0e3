"""What must hold, read only from outside: effects at the partner, records on the topics, calls by the hour, and for
personal values everything that was said or stored.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tests.support.stage import FINAL
from tests.torture.effect_keys import event_of
from tests.torture.shop import Shop
from tests.torture.system import System
from tests.torture.turns import standing
from worker.sandbox.recorded_calls import CallRecord

GRACE = 5.5
"""Seconds after the first 429 was sent in which calls may still arrive: those that had been begun in the ledger leave
within five seconds or not at all.
"""

REVOKED_WITHIN = 30.0
"""Seconds from the moment from which a revocation could be sent."""


NOTED_WITHIN = 16.0
"""Seconds before a record in which what keeps it from being noted may have begun: the longest freeze or cut link."""


@dataclass(frozen=True)
class Breach:
    """A promise that was not kept. `key`: the event, trader or order that it is about, for its timeline."""

    promise: str
    what: str
    key: str | None = None


ON_THE_WAY = 0.3
"""Seconds. A call that was begun before a login may reach the partner after it, one at a time."""


def judge(system: System, shop: Shop) -> Iterator[Breach]:
    """Every promise but privacy, which is `private`."""
    yield from _once(system, shop)
    yield from _outcomes(system, shop)
    yield from _signatures(system, shop)
    yield from _agrees(system, shop)
    yield from _calls(system)
    for ids, what in standing(system, shop):
        yield Breach("the last lock, unlock or change of limits of an account stands", what, ids[0])
    for each in system.ended_by_itself:
        yield Breach("a member ends only when it is asked to", each)


def early(system: System, shop: Shop) -> Iterator[Breach]:
    """What can be seen before everything works again."""
    yield from _once(system, shop)
    yield from _calls(system)
    for event_id, heard in system.listener.by_event.items():
        if len({each["outcomeId"] for each in heard if each["status"] in FINAL}) > 1:
            yield Breach("exactly one final outcome", f"{event_id} has several", event_id)
    for signal in shop.signatures:
        if groundless := list(_groundless(system, f"mda-{signal}")):
            yield Breach("one md.signed for every signature", f"signal {signal}: {groundless}", f"mda-{signal}")
    yield from _seen(shop, {f"the log of {member.name}": member.said for member in system.members})


def _once(system: System, shop: Shop) -> Iterator[Breach]:
    for family, keys in system.control.effects()["twice"].items():
        for key, count in keys.items():
            yield Breach("once in effect", f"{family}: {key} was made {count} times", event_of(shop, family, key))


def _outcomes(system: System, shop: Shop) -> Iterator[Breach]:
    for event_id, sent in shop.sent.items():
        heard = system.listener.by_event[event_id]
        final = [each for each in heard if each["status"] in FINAL]
        ids = {each["outcomeId"] for each in final}
        if not ids:
            yield Breach("every event has a final outcome", f"{sent.topic} {event_id} has none", event_id)
        elif len(ids) > 1:
            ends = [(each["status"], each["errorCode"], each["errorText"]) for each in final]
            yield Breach("exactly one final outcome", f"{sent.topic} {event_id} has {len(ids)}: {ends}", event_id)
        elif sent.invalid != (final[0]["errorCode"] == "invalid"):
            yield Breach("bad input, and nothing else, is invalid", f"{event_id}: {final[0]}", event_id)
        statuses = [each["status"] for each in heard]
        if "pending" in statuses and any(
            later == "pending" and earlier in FINAL for earlier, later in itertools.pairwise(statuses)
        ):
            yield Breach("pending never after the final outcome", f"{event_id}: {statuses}", event_id)
    for event_id in system.listener.by_event.keys() - shop.sent.keys():
        if not event_id.startswith("mda-"):
            yield Breach("no outcome without an event", event_id, event_id)
    reused = sum(headers.get("dlq-reason") == b"id_reused" for _, _, headers in system.listener.dead_letters)
    if reused < shop.reused:
        yield Breach("other content under a known id is a dead letter", f"{reused} of {shop.reused}")


def _signatures(system: System, shop: Shop) -> Iterator[Breach]:
    for signal in shop.signatures:
        event_id = f"mda-{signal}"
        if not system.listener.signed.get(event_id):
            yield Breach("one md.signed for every signature", f"signal {signal} is not on md.signed", event_id)
        elif groundless := list(_groundless(system, event_id)):
            yield Breach("one md.signed for every signature", f"signal {signal}: {groundless}", event_id)
        elif system.listener.final(event_id) is None:
            yield Breach("every event has a final outcome", f"md.signed {event_id} has none", event_id)


def _groundless(system: System, event_id: str) -> Iterator[str]:
    """Repeats between which and the record before no bridge was hit, nor what it notes its work with."""
    for before, again in itertools.pairwise(sorted(system.listener.signed.get(event_id, ()))):
        if not any(before - NOTED_WITHIN <= at <= again for at in system.bridge_trouble):
            yield f"published again {again - before:.1f} s later, with no bridge hit in between"


def _agrees(system: System, shop: Shop) -> Iterator[Breach]:
    """What outcomes say is what the partner has."""
    world = system.partner.sandbox.core.world
    accounts: Counter[int] = Counter()
    for order, sent in shop.orders.items():
        outcome = shop.final(sent)
        if outcome is None or outcome["status"] != "succeeded":
            continue
        permission = world.permissions.rows.get(outcome["tradingPermissionId"], {})
        ids = permission.get("accountId"), permission.get("userId")
        if ids != (outcome["accountId"], outcome["userId"]):
            yield Breach("outcomes have the partner's ids", f"order {order}: {outcome}, {permission}", order)
        accounts[outcome["accountId"]] += 1
    for account, count in accounts.items():
        if count > 1:
            yield Breach("once in effect", f"account {account} is that of {count} orders")
    for sent in shop.sent.values():
        outcome = shop.final(sent)
        if sent.topic == "trader.failed" and outcome is not None and outcome["status"] == "succeeded":
            for permission in outcome["tradingPermissionIds"]:
                status = world.permissions.rows[permission]["status"]
                if status != "Revoked":
                    yield Breach("a failed trader is out", f"permission {permission} is {status}", sent.event_id)


def _calls(system: System) -> Iterator[Breach]:
    core = system.partner.sandbox.core
    times = [record.at for record in core.calls.records]
    for name, span, setting in (("hour", 3600.0, "HOURLY"), ("minute", 60.0, "MINUTE")):
        most = int(system.env[f"TRADOVATE_{setting}_BUDGET"])
        window: deque[float] = deque()
        highest = 0
        for at in times:
            window.append(at)
            while window[0] <= at - span:
                window.popleft()
            highest = max(highest, len(window))
        if highest > most:
            yield Breach("the budget", f"{highest} calls in a rolling {name}; the budget is {most}")
    for silence in _lock_outs(core.calls.records):
        since = silence[0].ended_at or silence[0].at
        late = [f"{record.path} {record.at - since:+.1f} s" for record in silence if record.at > since + GRACE]
        if late:
            early_ones = [f"{record.path} {record.at - since:+.1f} s" for record in silence[:10]]
            yield Breach("no call in a lock-out", f"{late}, after the first 429; the first ones: {early_ones}")
    yield from _closed_in_use(core.sessions.evicted, core.calls.records)


def _closed_in_use(closed: Iterable[tuple[int, float]], records: Iterable[CallRecord]) -> Iterator[Breach]:
    """Sessions that a third login closed, and that went on being used. One that was given up, because it was doubtful
    and its renewal failed, is not in use; that is seen from outside by no further call.
    """
    of_session: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record.token_id is not None:
            of_session[record.token_id.partition(".")[0]].append(record.at)
    for number, at in closed:
        later = [began - at for began in of_session[str(number)] if began > at + ON_THE_WAY]
        if len(later) > 1:
            what = f"session {number} was closed by a third login; {len(later)} calls used it afterwards"
            yield Breach("no login closes a session in use", f"{what}, the first {later[0]:.1f} s later")


def _lock_outs(records: Iterable[CallRecord]) -> Iterator[list[CallRecord]]:
    """The calls that were answered 429 in each lock-out."""
    for locked_out, some in itertools.groupby(records, key=lambda record: record.locked_out):
        if locked_out:
            yield list(some)


async def private(system: System, shop: Shop, seen: Iterable[tuple[str, str]]) -> list[Breach]:
    """No personal value in logs, outcomes, `seen` (pages, by name) or the ledger."""
    texts: dict[str, str] = dict(seen)
    texts |= {f"the log of {member.name}": member.said for member in system.members}
    texts["the outcomes"] = b"\n".join(system.listener.raw).decode()
    for (table,) in await system.rows("select tablename::text from pg_tables where schemaname = 'public'"):
        rows = await system.rows(f'select t::text from "{table}" t')  # noqa: S608 - our own tables
        texts[f"the table {table}"] = "\n".join(row[0] for row in rows)
    return list(_seen(shop, texts))


def _seen(shop: Shop, texts: Mapping[str, str]) -> Iterator[Breach]:
    kinds = _kinds(shop.secrets)
    if not kinds or not _any_in(kinds.values(), texts.values()):
        return
    for where, text in texts.items():
        for kind, value in kinds.items():
            if value in text or value.encode().hex() in text:
                yield Breach("no personal value is seen", f"a value of the kind {kind} is in {where}")


def _any_in(values: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether one of thousands of values is in megabytes of text: grep looks for all of them at once."""
    with tempfile.NamedTemporaryFile("w") as wanted:
        wanted.write("\n".join(form for value in values for form in (value, value.encode().hex())))
        wanted.flush()
        command = ["grep", "--text", "--quiet", "--fixed-strings", f"--file={wanted.name}"]
        found = subprocess.run(command, input="\n".join(texts).encode(), env={"LC_ALL": "C"}, check=False)
    if found.returncode not in (0, 1):
        raise RuntimeError(f"grep failed: {found.returncode}")
    return found.returncode == 0


def _kinds(secrets: Iterable[str]) -> Mapping[str, str]:
    """The values by a name that shows none of them in full."""
    return {f"{value[:3]}…{number}": value for number, value in enumerate(sorted(secrets)) if len(value) >= 7}
