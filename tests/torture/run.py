"""One run: the system, the shop, the script of a seed; then calm; then the oracle."""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any

from tests.support.processes import worker
from tests.support.waiting import eventually, let_time_pass
from tests.support.wrong_clocks import WrongClock
from tests.torture.blows import Blows
from tests.torture.breaks import BREAKS, CONTROL, NOT_BROKEN, Break
from tests.torture.calm import calm
from tests.torture.misfortunes import Fate
from tests.torture.oracle import judge
from tests.torture.promises import Breach
from tests.torture.report import Report, ReportFile
from tests.torture.script import KINDS, blows, script
from tests.torture.shop import Shop
from tests.torture.system import LOCKED, System, system
from tests.torture.watch import Watch
from worker.embedded import ServerFailed
from worker.kafka.topics import INPUT_TOPICS
from worker.sandbox import SandboxConfig


def say(line: str) -> None:
    """Writes a line at once: a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


SHORT_WAITS = 45.0
"""Seconds before the end from which no event is sent whose flow takes a minute where nothing is wrong."""

PARTNER_MS = (20.0, 100.0, 300.0)
"""How long the partner takes for a call."""

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
    "admin_action_answer": ("row", "bare"),
    "auto_liqs_answer": ("rows", "reversed", "bare"),
    "liquidate_shown": ("LiquidateImmediately", "LockTradingImmediately", "AgreedOnLiquidationByAutoLiq"),
    "close_only_shown": ("LiquidateOnlyModeImmediately", "AgreedOnLiqOnlyModeByAutoLiq"),
    "risk_rows": ("always", "when_set"),
    "risk_update": ("merge", "replace"),
    "finds_nothing": ("list", "404", "null", "object"),
    "finds_reversed": (True, False),
    "success_error_text": ("absent", "null", "empty"),
    "permission_status": ("Accepted", "Approved"),
    "revoked_again": ("ok", "error_text"),
    "revoke_atomic": (True, False),
    "signal_shape": ("wrapped", "flat", "by_domain"),
    "denied_body": ("text", "empty"),
}
"""What the vendor leaves open: each run has one answer to each."""


@dataclass(frozen=True)
class Plan:
    """A run follows from it. `seconds` of trouble; `every` so many seconds a misfortune, `blows` kills and freezes a
    second, `rate` events a second, each on the average; `broken`: the name of a break, or empty.
    """

    seed: int
    seconds: float
    every: float
    blows: float
    rate: float
    broken: str = ""

    @property
    def as_broken(self) -> Break | None:
        """What the program is, if it is broken on purpose."""
        return CONTROL if self.broken == NOT_BROKEN else BREAKS.get(self.broken)

    @property
    def command(self) -> str:
        """What repeats the run."""
        given = f"--seed {self.seed} --seconds {self.seconds:g} --every {self.every:g} --blows {self.blows:g}"
        broken = f" --break {self.broken}" if self.broken else ""
        return f'make torture ARGS="{given} --rate {self.rate:g}{broken}"'


async def torture(plan: Plan, clocks: Mapping[int, WrongClock], file: ReportFile, *, verbose: bool) -> Report:
    """Runs it. Breaches are printed with their timelines while the system is still there."""
    dice = random.Random(plan.seed)
    chosen: dict[str, Any] = {name: dice.choice(answers) for name, answers in SWITCHES.items()}
    chosen |= {"review_step_seconds": 5.0, "partner_ms": dice.choice(PARTNER_MS), "lockout_seconds": LOCKED}
    chosen |= {"hourly_calls": 10_000}  # see `TRADOVATE_HOURLY_BUDGET` in `system.py`
    if chosen["admin_action_answer"] == "bare" and chosen["liquidate_shown"] == "LockTradingImmediately":
        chosen["liquidate_shown"] = "LiquidateImmediately"  # neither answer nor look-up could ever prove a liquidation
    # Where no host that the members know takes a login, no program could find the new one.
    chosen |= {"login_anywhere": True}
    broken = plan.as_broken
    if broken is not None:
        chosen |= broken.switches
    began = time.monotonic()
    settings = broken.settings if broken is not None else {}
    async with AsyncExitStack() as stack:
        made = await _started(stack, lambda: system(SandboxConfig(**chosen), plan.broken, INPUT_TOPICS, settings))
        if verbose:
            say(f"seed {plan.seed}: ready after {time.monotonic() - began:.0f} s; {chosen}")
        watch = Watch(BREAKS.get(plan.broken), time.monotonic())
        shop = Shop(made, random.Random(plan.seed + 1_000_000), plan.rate)
        if broken is not None:
            shop.mix = {**shop.mix, **broken.mix}
            for rule in broken.faults:
                made.partner.sandbox.core.faults.add(dict(rule))
        await shop.start()
        fate = Fate(made, Blows(made, clocks))

        def report(breaches: list[Breach]) -> Report:
            return Report(
                seeds=[plan.seed],
                seconds=time.monotonic() - began,
                found_after=watch.found_after,
                kills=Counter({moment.value: count for moment, count in fate.blows.kills.items()}),
                freezes=Counter({moment.value: count for moment, count in fate.blows.freezes.items()}),
                long_freezes=fate.blows.long_freezes,
                others=fate.counts,
                events=len(shop.sent) + len(shop.signatures),
                outcomes=Counter(each["status"] for each in made.listener.outcomes),
                calls=Counter(made.partner.sandbox.core.calls.by_path),
                breaches=breaches,
            )

        await _trouble(made, shop, fate, plan, watch, lambda: file.note(report([])))
        if verbose:
            say("\n".join(fate.happened))
            say(f"nobody was there for {fate.blows.missed} kills and freezes")
        breaches = watch.found
        if not watch.is_found(breaches):
            calm_began = time.monotonic()
            breaches = await calm(made, shop, watch)
            say(f"seed {plan.seed}: calm after {time.monotonic() - calm_began:.0f} s")
            pages = {f"the metrics of {each.name}": await made.page(each, "metrics") for each in made.members}
            breaches += await judge(made, shop, pages)
        if verbose:
            say("\n".join(f"{count:5} {end}" for end, count in _ends(made).most_common()))
        await shop.stop()
        await _print(made, breaches, plan)
        return report(breaches)


STARTS = 3


async def _started(stack: AsyncExitStack, make: Callable[[], AbstractAsyncContextManager[System]]) -> System:
    """Starts it. A port that was free when it was chosen may be another program's when it is opened."""
    for _ in range(STARTS - 1):
        try:
            return await stack.enter_async_context(make())
        except (OSError, RuntimeError, ServerFailed) as error:
            say(f"The system did not start, and is started again: {str(error)[-300:]}")
    return await stack.enter_async_context(make())


async def _trouble(made: System, shop: Shop, fate: Fate, plan: Plan, watch: Watch, note: Callable[[], None]) -> None:
    """The shop sends while the scripts go by. Ends early when a program that is broken on purpose has been found."""
    broken = watch.broken
    weights = (broken.weights if broken is not None else None) or KINDS
    others = deque(script(plan.seed, plan.seconds, plan.every, weights) if plan.every else ())
    hits = deque(blows(plan.seed, plan.seconds, plan.blows, broken.moments if broken is not None else None))
    began = time.monotonic()
    selling = asyncio.create_task(_sell(made, shop, plan, began))
    while (now := time.monotonic() - began) < plan.seconds and not await watch.over(made, shop):
        while others and others[0].at <= now:
            fate.begin(others.popleft())
        while hits and hits[0].at <= now:
            fate.strike(hits.popleft())
        made.revive()
        note()
        await let_time_pass(0.005)
    shop.closed = True
    await fate.end()
    await made.start_broker()  # the shop's last event has to get there
    await selling


async def _sell(made: System, shop: Shop, plan: Plan, began: float) -> None:
    """Sends events at a steady rate; what could not be sent while the broker was away is not made up for."""
    next_event = 0.0
    mix = plan.as_broken.mix if plan.as_broken is not None else {}
    while (now := time.monotonic() - began) < plan.seconds and not shop.closed:
        if now >= next_event and made.broker_up:
            shop.waits_long = plan.seconds - now > SHORT_WAITS or "pass" in mix
            await shop.send_one()
            next_event = max(next_event + 1 / shop.rate, now - 2)
        await let_time_pass(0.005)


MOST_TIMELINES = 4
"""Of one promise."""


async def _print(made: System, breaches: list[Breach], plan: Plan) -> None:
    """Breaches with the timelines of their keys, and the command that repeats the run; of many of a kind the first."""
    printed = Counter[str]()
    for breach in breaches:
        printed[breach.promise] += 1
        if printed[breach.promise] > MOST_TIMELINES:
            continue
        say(f"\nBREACH  seed {plan.seed}  {breach.promise}: {breach.what}\n  again: {plan.command}")
        if breach.key is None or plan.broken:
            continue
        env = {**made.env, "DATABASE_URL": made.database_url}
        env["KAFKA_BOOTSTRAP_SERVERS"] = made.broker.bootstrap_servers
        with worker("flows", "show", breach.key, env=env) as shown:
            await eventually(lambda: shown.returncode is not None, 30)
            say(shown.stdout or shown.stderr)
    for promise, count in printed.items():
        if count > MOST_TIMELINES:
            say(f"\n{promise}: {count - MOST_TIMELINES} more")


def _ends(made: System) -> Counter[str]:
    """How events have ended, without their values."""
    return Counter(
        " ".join(
            map(
                str, (each["topic"], each["status"], each["errorCode"] or "", _DIGITS.sub("0", each["errorText"] or ""))
            )
        )
        for each in made.listener.outcomes
    )


_DIGITS = re.compile("[0-9]+")
