"""One run: the system, the shop, the script of a seed; then calm; then the oracle."""

from __future__ import annotations

import asyncio
import random
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
from tests.torture.broken import BREAKS
from tests.torture.misfortunes import Fate
from tests.torture.oracle import REVOKED_WITHIN, Breach, early, judge, private
from tests.torture.report import Report, ReportFile
from tests.torture.script import KINDS, blows, script
from tests.torture.shop import Shop
from tests.torture.system import LOCKED, System, system
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

CALM_WHEN_BROKEN = 30.0
"""The same for a program that is broken on purpose: its shop asks for no subaccounts."""

LOOK_EVERY = 1.5
"""Seconds between two looks of the oracle at a program that is broken on purpose: the first breach ends the run."""

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
    if chosen["admin_action_answer"] == "bare" and chosen["liquidate_shown"] == "LockTradingImmediately":
        chosen["liquidate_shown"] = "LiquidateImmediately"  # neither answer nor look-up could ever prove a liquidation
    # Where no host that the members know takes a login, no program could find the new one.
    chosen |= {"login_anywhere": True}
    broken = BREAKS.get(plan.broken)
    if broken is not None:
        chosen |= broken.switches
    began = time.monotonic()
    settings = broken.settings if broken is not None else {}
    async with AsyncExitStack() as stack:
        made = await _started(stack, lambda: system(SandboxConfig(**chosen), plan.broken, INPUT_TOPICS, settings))
        if verbose:
            say(f"seed {plan.seed}: ready after {time.monotonic() - began:.0f} s; {chosen}")
        shop = Shop(made, random.Random(plan.seed + 1_000_000), plan.rate)
        await shop.start()
        fate = Fate(made, Blows(made, clocks))

        def report(breaches: list[Breach]) -> Report:
            return Report(
                seeds=[plan.seed],
                seconds=time.monotonic() - began,
                kills=Counter({moment.value: count for moment, count in fate.blows.kills.items()}),
                freezes=Counter({moment.value: count for moment, count in fate.blows.freezes.items()}),
                long_freezes=fate.blows.long_freezes,
                others=fate.counts,
                events=len(shop.sent) + len(shop.signatures),
                outcomes=Counter(each["status"] for each in made.listener.outcomes),
                calls=made.partner.sandbox.core.calls.total,
                breaches=breaches,
            )

        breaches = await _trouble(made, shop, fate, plan, lambda: file.note(report([])))
        if verbose:
            say("\n".join(fate.happened))
            say(f"nobody was there for {fate.blows.missed} kills and freezes")
        if not breaches:
            breaches = await _calm(made, shop)
            breaches += judge(made, shop)
            pages = [(f"the metrics of {each.name}", await made.page(each, "metrics")) for each in made.members]
            breaches += await private(made, shop, pages)
        await shop.stop()
        await _print(made, breaches, plan)
        return report(breaches)


STARTS = 3


async def _started(stack: AsyncExitStack, make: Callable[[], AbstractAsyncContextManager[System]]) -> System:
    """Starts it. A port that was free when it was chosen may be another program's when it is opened."""
    for _ in range(STARTS - 1):
        try:
            return await stack.enter_async_context(make())
        except (OSError, RuntimeError) as error:
            say(f"The system did not start, and is started again: {str(error)[-300:]}")
    return await stack.enter_async_context(make())


async def _trouble(made: System, shop: Shop, fate: Fate, plan: Plan, note: Callable[[], None]) -> list[Breach]:
    """The shop sends while the scripts go by. Returns what was found early, of a program that is broken on purpose."""
    broken = BREAKS.get(plan.broken)
    weights = {**KINDS, **(broken.weights if broken is not None else {})}
    others = deque(script(plan.seed, plan.seconds, plan.every, weights))
    rate = plan.blows if broken is None or broken.blows is None else broken.blows
    hits = deque(blows(plan.seed, plan.seconds, rate, broken.moments if broken is not None else None))
    began = time.monotonic()
    next_look = LOOK_EVERY
    breaches: list[Breach] = []
    selling = asyncio.create_task(_sell(made, shop, plan, began))
    while (now := time.monotonic() - began) < plan.seconds:
        while others and others[0].at <= now:
            fate.begin(others.popleft())
        while hits and hits[0].at <= now:
            fate.strike(hits.popleft())
        made.revive()
        note()
        if plan.broken and now >= next_look:
            next_look = now + LOOK_EVERY
            if breaches := list(early(made, shop)):
                break
        await let_time_pass(0.005)
    shop.closed = True
    await fate.end()
    await made.start_broker()  # the shop's last event has to get there
    await selling
    return breaches


async def _sell(made: System, shop: Shop, plan: Plan, began: float) -> None:
    """Sends events at a steady rate; what could not be sent while the broker was away is not made up for."""
    next_event = 0.0
    while (now := time.monotonic() - began) < plan.seconds and not shop.closed:
        if now >= next_event and made.broker_up:
            shop.waits_long = not plan.broken and plan.seconds - now > SHORT_WAITS
            await shop.send_one()
            next_event = max(next_event + 1 / shop.rate, now - 2)
        await let_time_pass(0.005)


async def _calm(made: System, shop: Shop) -> list[Breach]:
    """Everything works again: whatever was accepted ends, and a revocation is quick."""
    await made.restore()
    calm = CALM_WHEN_BROKEN if made.broken else CALM_SECONDS
    breaches = []
    try:
        await made.ready(CALM_WHEN_BROKEN if made.broken else READY_SECONDS)
    except AssertionError as error:
        breaches.append(Breach("ready again when everything works", str(error)))
    breaches += await _revocations(shop)

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


async def _revocations(shop: Shop) -> list[Breach]:
    """What can be revoked now is revoked within half a minute: a trader who fails now, and all who failed before and
    whose purchases have ended.
    """
    waiting = [each for each in shop.sent.values() if each.topic == "trader.failed" and shop.final(each) is None]
    purchases = [each for each in shop.sent.values() if each.topic == "trader.purchased"]
    buying = {each.body["orderId"] for each in purchases if shop.final(each) is None}
    waiting = [each for each in waiting if each.body["orderId"] not in buying]
    if (order := shop.with_permission()) is not None:
        waiting.append(shop.failing(order))
        await shop.send(waiting[-1])
    began = time.monotonic()
    try:
        await eventually(lambda: all(shop.final(each) is not None for each in waiting), REVOKED_WITHIN)
    except AssertionError:
        late = [each for each in waiting if shop.final(each) is None]
        return [Breach("a revocation within 30 s", f"{each.event_id} of {each.body}", each.event_id) for each in late]
    say(f"{len(waiting)} revocations took {time.monotonic() - began:.1f} s")
    return []


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
