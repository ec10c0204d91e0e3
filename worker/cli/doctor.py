"""`doctor`: is everything as it should be?"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.text import Text

from schemas.times import Clock
from worker.cli._app import example, group
from worker.cli._output import console, print_json, printable
from worker.cli._times import Local, clock_of
from worker.operate.doctor.findings import Finding, Verdict
from worker.wiring.checks import findings_of

app = group()

_COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "bold red", Verdict.SKIPPED: "dim"}


@app.command(epilog=example("tradovate-worker doctor", "tradovate-worker doctor --json"))
def doctor(
    *,
    local: Local = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> int:
    """Check settings, database, Kafka and Tradovate, a line a check with its fix.

    Exit code 1 if anything fails. It changes nothing at Tradovate or Kafka; in the ledger only the shared session, the
    call log, and the hold of a rejected login.
    """
    return asyncio.run(_doctor(clock_of(local=local), as_json=as_json))


async def _doctor(clock: Clock, *, as_json: bool) -> int:
    findings: list[Finding] = []
    async for finding in findings_of(clock):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        print_json(
            [
                # Programs read this: the name of the field stays.
                {"check": each.check, "verdict": each.verdict.value, "seen": each.seen, "fix": each.fix}
                for each in findings
            ]
        )
    return 1 if any(each.verdict is Verdict.FAILED for each in findings) else 0


def _print(finding: Finding) -> None:
    line = Text(f"{finding.verdict.value:8}", style=_COLOURS[finding.verdict])
    line.append(f"{finding.check}: {printable(finding.seen)}", style="")
    if finding.fix is not None:
        line.append(f" - {printable(finding.fix)}", style="")
    console().print(line)
