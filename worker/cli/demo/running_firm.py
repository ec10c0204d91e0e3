"""What a firm does that runs already: it imports what it has, and asks whether ledger and Tradovate agree."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import worker as package
from worker.cli.demo.parts import KEPT, Stage
from worker.cli.demo.show import Show
from worker.ledger.differences import Kind

_OLD = {"users": [{"name": "old77", "email": "old77@example.com"}], "accounts": [{"name": "EVAL700077"}]}
"""A trader whom another program brought to Tradovate."""

_LINES = "traderId;userId;orderId;accountId\r\ncust-old77;{user};700077;{account}\r\ncust-old78;999999999;700078;\r\n"
"""As a spreadsheet writes them; nobody at Tradovate is the user of the second line."""

DIFFERENCES = Counter({Kind.BILLED_FOR_NOTHING.value: 2})
"""What `reconcile` finds after the samples, by kind: traders who failed and did not leave keep their subscriptions."""


async def running_firm(show: Show, stage: Stage, home: Path) -> Sequence[str]:
    """Runs `import` and `reconcile` as an operator does. Returns what is not as it should be."""
    control = stage.partner.sandbox.control
    made = control.seed(dict(_OLD))
    (user,), (account,) = made["userIds"], made["accountIds"]
    control.seed({"permissions": [{"accountId": account, "userId": user, "status": "Approved"}]})
    file = home / "traders.csv"
    file.write_text(_LINES.format(user=user, account=account), encoding="utf-8", newline="")
    show.heading("A firm that runs already")
    imported, said = await _command(show, stage, home, "import", file.name)
    problems = [] if imported == 1 and "Imported 1 of 2 lines" in said else [f"import: exit code {imported}, {said!r}"]
    differs, found = await _command(show, stage, home, "reconcile")
    kinds = Counter(line.partition(":")[0] for line in found.splitlines())
    if (differs, kinds) != (1, DIFFERENCES):
        problems.append(f"reconcile: exit code {differs}, {dict(kinds)}, not {dict(DIFFERENCES)}")
    return problems


async def _command(show: Show, stage: Stage, home: Path, *arguments: str) -> tuple[int, str]:
    """Runs a command and shows what it prints: its exit code, and its standard output."""
    show.say(f"$ tradovate-worker {' '.join(arguments)}", "bold")
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=home,
        env={**kept, "PYTHONPATH": str(Path(package.__path__[0]).parent), **stage.settings},
        start_new_session=True,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    for line in [*err.decode().splitlines(), *out.decode().splitlines()]:
        show.say(line)
    assert process.returncode is not None
    return process.returncode, out.decode()
