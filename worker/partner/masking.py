"""The one place where texts of a response are masked: each result passes here once, when it is read.

Everything that is made of a text later (an outcome, a warning, what a step remembers) is made of the masked one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from schemas.privacy import mask
from worker.partner.operation import Item
from worker.results import Result, Succeeded

__all__ = ["mask_all", "mask_each"]

MESSAGE = "message"
"""Where the value of a success has the partner's own text."""


def mask_each(results: Sequence[Result], items: Sequence[Item]) -> Sequence[Result]:
    """Each result without the personal values of its item."""
    return [_masked(result, (item,)) for result, item in zip(results, items, strict=True)]


def mask_all(result: Result, items: Sequence[Item]) -> Sequence[Result]:
    """The result of a whole call for each of its items: its text may name any of them."""
    return [_masked(result, items)] * len(items)


def _personal(item: Item) -> Collection[str]:
    values = item.get("_personal")
    return values() if values is not None else ()


def _masked(result: Result, items: Iterable[Item]) -> Result:
    text = result.value.get(MESSAGE) if isinstance(result, Succeeded) else result.text
    if not text:  # as most: the personal values of an item are not looked for then
        return result
    masked = mask(text, {value for item in items for value in _personal(item)})
    if isinstance(result, Succeeded):
        return Succeeded({**result.value, MESSAGE: masked})
    return replace(result, text=masked)
