"""One run of `import`: block after block of lines, first the ledger, then Tradovate for what it does not know, then the
rows of what is right in one transaction. So it may end at any moment: what is in the ledger is not asked again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

from worker.engine.imported import Given, Holding, ImportVerdict
from worker.ledger.imports import Imports, Overlay, Said
from worker.ledger.rehearsal import Rehearsal
from worker.operate.import_file.checking import Checks
from worker.operate.import_file.file_lines import ImportFileRefused, Line, Refused

BLOCK = 1000
"""Lines that are checked and written together: ten full calls of each kind, and a transaction of some 100 ms, behind
which events of the same traders wait."""


@dataclass(slots=True)
class Counts:
    """What became of the lines up to now."""

    imported: int = 0
    known: int = 0
    refused: int = 0

    @property
    def lines(self) -> int:
        """All of them."""
        return self.imported + self.known + self.refused


@dataclass(slots=True)
class Run:
    """`rehearsal`: of a dry run, which writes nothing to the ledger."""

    imports: Imports
    checks: Checks
    rehearsal: Rehearsal | None = None

    async def blocks(self, lines: Iterator[Line], counts: Counts) -> AsyncIterator[Sequence[Refused]]:
        """Imports the lines; yields the refused ones of each block, in their order, when it is in the ledger.

        Raises `ImportFileRefused` when the lines before it are in the ledger.
        """
        fault: ImportFileRefused | None = None
        while fault is None:
            block, fault = _block(lines)
            if block:
                refused = [line for line in block if isinstance(line, Refused)]
                refused += await self._import([line for line in block if isinstance(line, Given)], counts)
                counts.refused += len(refused)
                yield sorted(refused, key=lambda line: line.number)
            elif fault is None:
                return
        raise fault

    async def _import(self, lines: Sequence[Given], counts: Counts) -> Sequence[Refused]:
        refused: list[Refused] = []
        new: list[Given] = []
        overlay = () if self.rehearsal is None else (self.rehearsal.overlay,)
        for line, said in zip(lines, await self.imports.known(lines, *overlay), strict=True):
            if said is None:
                new.append(line)
            elif isinstance(said, str):
                refused.append(_refused(line, said))
            else:
                counts.known += 1
        right: list[Holding] = []
        for line, checked in zip(new, await self.checks.check(new) if new else (), strict=True):
            if isinstance(checked, str):
                refused.append(_refused(line, checked))
            else:
                right.append(checked)
        for holding, said in zip(right, await self._keep(right, overlay), strict=True):
            if isinstance(said, str):
                refused.append(_refused(holding.given, said))
            else:
                counts.imported += said is ImportVerdict.IMPORTED
                counts.known += said is not ImportVerdict.IMPORTED
        return refused

    async def _keep(self, right: Sequence[Holding], overlay: tuple[Overlay, ...]) -> Said:
        """Writes what is right. What is refused beside the ledger leaves no row there."""
        said, importing = await self.imports.judge(right, *overlay)
        if self.rehearsal is not None:
            self.rehearsal.keep(importing.changes())
            return said
        good = [holding for holding, each in zip(right, said, strict=True) if each is ImportVerdict.IMPORTED]
        written = iter(await self.imports.write(good) if good else ())
        # Another transaction may have been quicker with the same trader or order.
        return [next(written) if each is ImportVerdict.IMPORTED else each for each in said]


def _block(lines: Iterator[Line]) -> tuple[Sequence[Line], ImportFileRefused | None]:
    """The next lines, and why there are no more if the file cannot be read on."""
    block: list[Line] = []
    try:
        for line in islice(lines, BLOCK):
            block.append(line)  # noqa: PERF402 - what was read stays, whatever comes next
    except ImportFileRefused as fault:
        return block, fault
    return block, None


def _refused(line: Given, why: str) -> Refused:
    return Refused(line.number, why, line.trader_id, line.order_id)


@asynccontextmanager
async def rehearsing(*, dry_run: bool) -> AsyncIterator[Rehearsal | None]:
    """What a dry run keeps in place of the ledger."""
    rehearsal = Rehearsal() if dry_run else None
    try:
        yield rehearsal
    finally:
        if rehearsal is not None:
            rehearsal.close()
