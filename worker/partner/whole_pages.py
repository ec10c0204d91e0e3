"""Whether the answer to a bulk read holds all that was asked for: it may have been cut, and not say so.

"Fewer may return" is documented of `items`. So what `finds` and `ldeps` leave out is asked for once more, together with
one that is there, which comes last. An answer that was cut, in whatever order, then holds others than it held before.
Where as many were answered about before, and with more rows, nothing was cut: so in the long run this costs little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.partner.observed_forms import QueryForm
from worker.partner.operation import Reader
from worker.partner.single_reads import No, Row, folded, is_id, page
from worker.replies import Domain

__all__ = ["found_besides", "holds_all"]

SHORTEST = 2
"""Names that a cut answer to `finds` has at least: one that takes only one name is known by that (`QueryForm`)."""

LONG = 10
"""Rows of an answer to `ldeps` that may have been cut in the middle of what one master has. Ten were once measured of
`items`; nothing hints at a lower limit."""


async def found_besides(
    reader: Reader, domain: Domain, path: str, form: QueryForm, names: Sequence[str], there: Sequence[str]
) -> tuple[Sequence[Row], Sequence[str]]:
    """Rows that an answer to `finds` has left out, and the names about which nothing is known.

    `names`: those that it did not hold; `there`: those that it held.
    """
    if not names or len(there) < SHORTEST or reader.seen.takes(path, len(names) + len(there), len(there)):
        return (), ()
    left, rows = list(names), list[Row]()
    while left:
        asked = [*left, there[0]]
        answer = await page(reader, domain, path, names=",".join(asked) if form is QueryForm.JOINED else asked)
        if isinstance(answer, No):
            return rows, left
        wanted, found = set(map(folded, left)), [row for row in answer if is_id(row.get("id"))]
        new = [row for row in found if folded(str(row.get("name"))) in wanted]
        if not new:
            if not any(folded(str(row.get("name"))) == folded(there[0]) for row in found):
                return rows, left
            break
        rows += new
        left = [name for name in left if all(folded(row["name"]) != folded(name) for row in new)]
    if not rows:
        reader.seen.taken(path, max(len(there), len(names) + 1), len(there))
    return rows, ()


async def holds_all(reader: Reader, domain: Domain, path: str, owner: str, found: Mapping[int, Sequence[Row]]) -> bool:
    """Whether an answer to `ldeps` is all that there is. `found`: its rows by what was asked for, by `owner`.

    Those without rows are asked for once more. And the answer may lack a part of what one of them has: so if it is
    longer than any before, what both halves have must add up to it.
    """
    none = [each for each in found if not found[each]]
    some = [each for each in found if found[each]]
    rows = sum(len(found[each]) for each in some)
    if reader.seen.takes(path, len(found), rows):
        return True
    if none:
        control = min(some, key=lambda each: len(found[each]))
        again = await _owners(reader, domain, path, owner, [*none, control])
        if again is None or set(again) != {control}:
            return False
    if len(some) > 1 and rows >= LONG and rows > reader.seen.most_rows(path):
        half = len(some) // 2
        parts = [await _owners(reader, domain, path, owner, part) for part in (some[:half], some[half:])]
        if sum(len(part) for part in parts if part is not None) != rows:
            return False
    reader.seen.taken(path, max(len(some), len(none) + 1), rows)
    return True


async def _owners(
    reader: Reader, domain: Domain, path: str, owner: str, masters: Sequence[int]
) -> Sequence[int | None] | None:
    """Whose the rows are; None when the read says nothing."""
    rows = await page(reader, domain, path, masterids=",".join(map(str, masters)))
    return None if isinstance(rows, No) else [row.get(owner) for row in rows]
