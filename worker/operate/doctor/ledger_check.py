"""The ledger's checks: reachable, version, clock, schema, environment; budget, holds, doubts, invariants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from schemas.times import Clock, utc_text
from worker.ledger import holds, kept_dead_letters, schema
from worker.ledger.budget import Budget
from worker.ledger.clock import database_time
from worker.ledger.database import Database, DatabaseError
from worker.ledger.environment import noted_environment
from worker.ledger.invariants import INVARIANTS, violations
from worker.ledger.state_summary import doubts, server_version, standing
from worker.operate.doctor.findings import Finding, failed, ok, skipped, warning
from worker.settings import RunSettings

OLDEST = 140_000
"""PostgreSQL 14 (README, DATABASE_URL)."""

SKEW = 2.0
"""Seconds between our clock and the database's from which an operator should look. Leases and budgets use the
database's clock alone; log lines and outcome times use ours."""


async def database(settings: RunSettings, ledger: Database) -> AsyncIterator[Finding]:
    """Reachable, version, clock, schema, environment. The last finding tells whether the ledger can be asked more."""
    try:
        async with ledger.connection() as connection:
            version = await server_version(connection)
            before = datetime.now(UTC)
            theirs = await database_time(connection)
            ours = before + (datetime.now(UTC) - before) / 2
    except DatabaseError as error:
        yield failed("database", error.reason, error.fix)
        yield skipped("database schema", "no database")
        return
    if version < OLDEST:
        yield failed("database", f"PostgreSQL {version // 10_000}", "use PostgreSQL 14 or later")
    else:
        how = "behind a pooler: nothing stays prepared, which costs some speed" if ledger.pooled else "without a pooler"
        yield ok("database", f"PostgreSQL {version // 10_000}, {how}")
    skew = abs((theirs - ours).total_seconds())
    if skew > SKEW:
        yield warning("database clock", f"{skew:.1f} s away from this machine's", "set both by NTP")
    else:
        yield ok("database clock", f"{skew * 1000:.0f} ms away from this machine's")
    status = await schema.status(settings.database_url.get_secret_value())
    if not status.usable:
        seen = f"release {status.found or 'none'}, this program needs {status.wanted}"
        yield failed("database schema", seen, "run `tradovate-worker db upgrade`")
        return
    yield ok("database schema", f"release {status.found} ({status.fit})")
    noted, wanted = await noted_environment(ledger), settings.tradovate_environment.value
    if noted is not None and noted != wanted:
        seen = f"the ledger belongs to {noted}, the settings say {wanted}"
        yield failed("ledger environment", seen, f"set TRADOVATE_ENVIRONMENT={noted}, or another DATABASE_URL")
    else:
        yield ok("ledger environment", noted or f"not used yet; will be {wanted}")


async def ledger_state(settings: RunSettings, ledger: Database, clock: Clock = utc_text) -> AsyncIterator[Finding]:
    """Budget, what is held back, flows in doubt, and what must always hold."""
    seen = await standing(ledger, Budget.of(settings))
    if seen.budget.left:
        minute = f"{seen.budget.minute_used} in the last minute, {seen.budget.minute_left} left"
        yield ok("budget", f"{seen.budget.used} calls in the last hour, {seen.budget.left} left; {minute}")
    else:
        free = f" until {clock(seen.budget.free_again_at)}" if seen.budget.free_again_at else ""
        yield warning("budget", f"used up{free}", "wait, or raise TRADOVATE_HOURLY_BUDGET (Tradovate allows 5,000)")
    for hold in seen.holds:
        until = f"until {clock(hold.until)}" if hold.until else "until an operator clears it"
        fix = f"`tradovate-worker holds clear {hold.id} --reason …` once the cause is gone"
        if hold.scope == holds.PAUSE_ALL:
            fix = "`tradovate-worker resume`"
        elif hold.scope.startswith("pause:"):
            fix = f"`tradovate-worker resume {hold.scope.removeprefix('pause:')}`"
        text = f"{hold.scope}: {hold.why}, {until}"
        yield failed("holds", text, fix) if hold.scope in (holds.ALL, holds.LOGIN) else warning("holds", text, fix)
    if not seen.holds:
        yield ok("holds", "nothing is held back")
    if doubtful := await doubts(ledger):
        yield warning(
            "flows in doubt", str(doubtful), "`tradovate-worker flows list --state in_doubt`, then `flows resolve`"
        )
    else:
        yield ok("flows in doubt", "none")
    async with ledger.connection() as connection:
        kept = sum((await kept_dead_letters.waiting(connection)).values())
    if kept:
        seen_letters = f"{kept} that their topics do not accept, neither replayed nor dismissed"
        yield warning("kept dead letters", seen_letters, "`tradovate-worker dlq list`, and look at the .dlq topics")
    broken = await violations(ledger)
    for invariant, examples in broken:
        text = f"not so: {invariant.promise} ({', '.join(examples)})"
        yield failed(f"invariant {invariant.name}", text, "look with `tradovate-worker flows show`, and report it")
    if not broken:
        yield ok("invariants", f"all {len(INVARIANTS)} hold")
