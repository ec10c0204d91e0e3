"""Reads of one entity each: what one of them is answered says nothing of the others."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from worker.partner.read_errors import NotPermitted, ReadFault, Unreadable

__all__ = ["Alone"]

T = TypeVar("T")

ODD = 3
"""Answers in no documented form, before the first one that is: so answers a gateway, and what is left is not asked."""


@dataclass(slots=True)
class Alone:
    """The reads of one look-up."""

    odd: int = 0
    answered: bool = False

    async def read(self, work: Awaitable[T]) -> T | Unreadable:
        """What was read, or why it cannot be. Raises `Unreadable` when the partner fails, or answers all so."""
        try:
            found = await work
        except NotPermitted as denied:
            return denied
        except Unreadable as unreadable:
            self.odd += 1
            if unreadable.fault is ReadFault.NO_ANSWER or (self.odd >= ODD and not self.answered):
                raise
            return unreadable
        self.answered = True
        return found
