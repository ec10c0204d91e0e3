"""`doctor`: is everything as it should be?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import typer
from rich.text import Text

from schemas.times import Clock
from worker.cli._app import example, group
from worker.cli._output import console, print_json, printable
from worker.cli._times import Local, clock_of
from worker.ledger.budget import Budget
from worker.ledger.crypto import Vault
from worker.ledger.database import Database, DatabaseError
from worker.ledger.state_summary import standing
from worker.operate.doctor.findings import Finding, Verdict, failed, ok, skipped
from worker.operate.doctor.kafka_check import kafka
from worker.operate.doctor.ledger_check import database, ledger_state
from worker.operate.doctor.partner_check import Partner
from worker.operate.doctor.partner_hosts import places
from worker.partner.lockout import LockOut
from worker.process.starting import partner_client, partner_egress, replica_name, session_keeper
from worker.products import CatalogueError, load_products
from worker.session.lockouts import write_lockout
from worker.settings import RunSettings, SettingsError, load
from worker.telemetry.logging import configure

app = group()

_COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "bold red", Verdict.SKIPPED: "dim"}


@app.command(epilog=example("tradovate-worker doctor", "tradovate-worker doctor --json"))
def doctor(
    *,
    local: Local = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> int:
    """Check settings, database, Kafka and Tradovate, a line a check with its mend.

    Exit code 1 if anything fails. It changes nothing at Tradovate or Kafka; in the ledger only the shared session, the
    call log, and the hold of a rejected login.
    """
    return asyncio.run(_doctor(clock_of(local=local), as_json=as_json))


async def _doctor(clock: Clock, *, as_json: bool) -> int:
    findings = []
    async for finding in _findings(clock):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        print_json(
            [
                {"check": each.check, "verdict": each.verdict.value, "seen": each.seen, "mend": each.mend}
                for each in findings
            ]
        )
    return 1 if any(each.verdict is Verdict.FAILED for each in findings) else 0


async def _findings(clock: Clock) -> AsyncIterator[Finding]:
    try:
        settings = load(RunSettings)
        products = load_products(settings.products_file) if settings.products_file else {}
    except SettingsError as error:
        for problem in error.problems:
            yield failed("settings", str(problem), f"for example {problem.name}={problem.example}")
        yield skipped("database, kafka, tradovate", "the settings come first")
        return
    except CatalogueError as error:
        yield failed("settings", error.sentence, "mend the catalogue")
        return
    configure("error", settings.log_format)  # what there is to say is said in the findings
    yield ok("settings", f"{settings.tradovate_environment.value}, {len(products)} products")
    ledger = Database(settings.database_url.get_secret_value(), size=3)
    vault = Vault([key.get_secret_value() for key in settings.secret_keys])
    lockout = LockOut(settings.lockout)
    client = partner_client(settings, lockout, partner_egress(settings))
    budget, name = Budget.of(settings), f"doctor-{replica_name()}"
    try:
        usable = True
        async for finding in database(settings, ledger):
            usable = usable and finding.verdict in (Verdict.OK, Verdict.WARNING)
            yield finding
        async for finding in kafka(settings):
            yield finding
        if not usable:
            yield skipped("tradovate, ledger", "the shared session, the budget and the call log are in the ledger")
            return
        session = session_keeper(settings, ledger, vault, client, budget, name)
        async for finding in Partner(settings, ledger, client, session, budget, name, clock).checks(products):
            yield finding
        await write_lockout(lockout, ledger)
        for finding in places(settings, session, await standing(ledger, budget), clock):
            yield finding
        async for finding in ledger_state(settings, ledger, clock):
            yield finding
    except DatabaseError as error:  # it has gone since it was looked at
        yield failed("database", error.reason, error.fix)
    finally:
        await client.aclose()
        await ledger.close()


def _print(finding: Finding) -> None:
    line = Text(f"{finding.verdict.value:8}", style=_COLOURS[finding.verdict])
    line.append(f"{finding.check}: {printable(finding.seen)}", style="")
    if finding.mend is not None:
        line.append(f" - {printable(finding.mend)}", style="")
    console().print(line)
