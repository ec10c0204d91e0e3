"""One run: the system, the shop, the script of a seed; then calm; then the oracle."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tests.support.processes import worker
from tests.support.waiting import eventually, let_time_pass
from tests.support.wrong_clocks import WrongClock
from tests.torture.broken import BREAKS
from tests.torture.misfortunes import KINDS, Fate, script
from tests.torture.oracle import REVOKED_WITHIN, Breach, early, judge, private
from tests.torture.shop import Shop
from tests.torture.system import LOCKED, MEMBERS, System, system
from worker.kafka.topics import INPUT_TOPICS
from worker.sandbox import SandboxConfig


def say(line: str) -> None:
    """Writes a line at once: a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


READY_SECONDS = 90.0
"""For every member to be ready when everything works again: a back-off of the bridge lasts a minute at most."""

CALM_SECONDS = 150.0
"""For all that is open when everything works again: the longest waits are a subaccount request's polls, a minute apart,
and a poll that met a fault is made again."""

CALM_WHEN_BROKEN = 40.0
"""The same for a program that is broken on purpose: its shop asks for no subaccounts."""

LOOK_EVERY = 3.0
"""Seconds between two looks of the oracle at a program that is broken on purpose: the first breach ends the run."""

SWITCHES: Mapping[str, tuple[Any, ...]] = {
    "account_names_unique": (True, False),
    "permission_with_account": (True, False),
    "find_nothing": ("404", "null", "object", "empty", "list"),
    "finds_supported": (True, False),
    "items_reversed": (True, False),
    "closed_session_status": (401, 408, 429, 500),
    "entitlement_again": ("text", "code", "both", "second"),
    "same_permission_again": ("error_text", "existing", "second"),
    "batch_atomic": (True, False),
    "signal_sockets": ("live", "demo", "both", "none"),
    "props_shape": ("array", "object", "alternate"),
    "signal_entity": ("object", "list"),
    "cancelled_in_deps": ("marked", "gone"),
    "api_hosts": ("always", "moved"),
    "old_token_after_renewal": (True, False),
}
"""What the vendor leaves open: each run has one answer to each."""


@dataclass
class Report:
    """What came of one run, or of several."""

    runs: int = 0
    seconds: float = 0.0
    events: int = 0
    misfortunes: int = 0
    kills: int = 0
    freezes: int = 0
    calls: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    breaches: list[Breach] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Adds another one."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def lines(self) -> list[str]:
        """For people."""
        statuses = ", ".join(f"{status} {count}" for status, count in sorted(self.outcomes.items()))
        return [
            f"runs          {self.runs}, {self.seconds:.0f} s",
            f"misfortunes   {self.misfortunes}, of which {self.kills} kills and {self.freezes} freezes",
            f"events        {self.events}: {statuses}",
            f"calls         {self.calls}",
            f"breaches      {len(self.breaches)}",
        ]


async def torture(
    seed: int,
    seconds: float,
    *,
    every: float,
    rate: float,
    broken: str,
    folder: Path,
    verbose: bool,
) -> Report:
    """Runs a seed. Breaches are printed with their timelines while the system is still there."""
    dice = random.Random(seed)
    chosen: dict[str, Any] = {name: dice.choice(answers) for name, answers in SWITCHES.items()}
    chosen |= {"review_step_seconds": 5.0, "partner_ms": 20.0, "lockout_seconds": LOCKED}
    settings: Mapping[str, str] = {}
    if broken in BREAKS:
        chosen |= BREAKS[broken].switches
        settings, every = BREAKS[broken].settings, min(every, BREAKS[broken].every)
    config = SandboxConfig(**chosen)
    began = time.monotonic()
    async with system(config, broken, INPUT_TOPICS, settings) as made:
        report_line = say if verbose else (lambda _line: None)
        report_line(f"seed {seed}: ready after {time.monotonic() - began:.0f} s; {chosen}")
        shop = Shop(made, random.Random(seed + 1_000_000), rate, waits_long=not broken)
        await shop.start()
        fate = Fate(made, _clocks(folder))
        breaches = await _trouble(made, shop, fate, seed, seconds, every)
        report_line("\n".join(fate.happened))
        if not breaches:
            breaches = await _calm(made, shop)
            breaches += judge(made, shop)
            pages = [(f"the metrics of {each.name}", await made.page(each, "metrics")) for each in made.members]
            breaches += await private(made, shop, pages)
        await shop.stop()
        await _print(made, breaches, f"--seed {seed} --seconds {seconds:g} --every {every:g} --rate {rate:g}", broken)
        return Report(
            runs=1,
            seconds=time.monotonic() - began,
            events=len(shop.sent) + len(shop.signatures),
            misfortunes=len(fate.happened),
            kills=made.kills,
            freezes=made.freezes,
            calls=made.partner.sandbox.core.calls.total,
            outcomes=Counter(each["status"] for each in made.listener.outcomes),
            breaches=breaches,
        )


def _clocks(folder: Path) -> Mapping[int, WrongClock]:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        say("No libfaketime (Debian: apt-get install faketime): no clock will be wrong.")
        return {}
    clocks = {number: WrongClock(found[0], folder / f"clock{number}") for number in range(1, len(MEMBERS) + 1)}
    for clock in clocks.values():
        clock.set(0)
    return clocks


async def _trouble(made: System, shop: Shop, fate: Fate, seed: int, seconds: float, every: float) -> list[Breach]:
    """The shop sends while the script goes by. Returns what was found early, of a program that is broken on purpose."""
    weights = {**KINDS, **(BREAKS[made.broken].weights if made.broken in BREAKS else {})}
    waiting = script(seed, seconds, every, weights)
    began = time.monotonic()
    next_event, next_look = 0.0, LOOK_EVERY
    while (now := time.monotonic() - began) < seconds:
        while waiting and waiting[0].at <= now:
            fate.begin(waiting.pop(0))
        if now >= next_event and made.broker_up:
            await asyncio.wait({asyncio.create_task(shop.send_one())}, timeout=2)
            next_event = max(next_event + 1 / shop.rate, now - 2)
        made.revive()
        if made.broken and now >= next_look:
            next_look = now + LOOK_EVERY
            if breaches := list(early(made, shop)):
                await fate.end()
                return breaches
        await let_time_pass(0.01)
    await fate.end()
    return []


async def _calm(made: System, shop: Shop) -> list[Breach]:
    """Everything works again: whatever was accepted ends, and a revocation is quick."""
    await made.mend()
    calm = CALM_WHEN_BROKEN if made.broken else CALM_SECONDS
    breaches = []
    try:
        await made.ready(READY_SECONDS)
    except AssertionError as error:
        breaches.append(Breach("ready again when everything works", str(error)))
    order = next(
        (
            order
            for order, sent in reversed(shop.orders.items())
            if (outcome := shop.final(sent)) is not None
            and outcome["status"] == "succeeded"
            and order not in shop.traders[str(sent.body["traderId"])].failed
        ),
        None,
    )
    if order is not None:
        failed, began = shop.failing(order), time.monotonic()
        await shop.send(failed)
        try:
            await eventually(lambda: shop.final(failed) is not None, REVOKED_WITHIN)
        except AssertionError:
            breaches.append(Breach("a revocation within 30 s", f"{failed.event_id} of order {order}", failed.event_id))
        say(f"a revocation took {time.monotonic() - began:.1f} s")

    def all_ended() -> bool:
        open_events = [each.event_id for each in shop.sent.values() if shop.final(each) is None]
        open_events += [f"mda-{signal}" for signal in shop.signatures if made.listener.final(f"mda-{signal}") is None]
        assert not open_events, open_events
        return True

    try:
        await eventually(all_ended, calm)
    except AssertionError as error:
        say(f"still open after {calm:.0f} s of calm: {str(error)[:500]}")
    return breaches


MOST_TIMELINES = 5


async def _print(made: System, breaches: list[Breach], arguments: str, broken: str) -> None:
    """Each breach with the timeline of its key, and the command that repeats the run."""
    again = f"python -m tests.torture {arguments}{f' --break {broken}' if broken else ''}"
    for number, breach in enumerate(breaches):
        say(f"\nBREACH  {breach.promise}: {breach.what}\n  again: {again}")
        if breach.key is not None and number < MOST_TIMELINES and not broken:
            env = {**made.env, "DATABASE_URL": made.database_url}
            env["KAFKA_BOOTSTRAP_SERVERS"] = made.broker.bootstrap_servers
            with worker("flows", "show", breach.key, env=env) as shown:
                await eventually(lambda: shown.returncode is not None, 30)
                say(shown.stdout or shown.stderr)
