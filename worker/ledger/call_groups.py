"""Which steps share a call. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

JOINED = 100
"""Steps that one request stands for: as many as a full call has; a shop that says the same more often waits a round."""


@dataclass(slots=True)
class _Group:
    """Steps of one call."""

    alike: str | None
    most: int
    rows: list[Any] = field(default_factory=list)
    weight: int = 0

    def takes(self, row: Any) -> bool:
        return self.alike == row["alike"] and (not self.rows or self.weight + row["weight"] <= self.most)

    def add(self, row: Any) -> None:
        self.rows.append(row)
        self.weight += row["weight"]


def grouped(rows: Sequence[Any], most: int, *, joined: bool = False) -> list[list[Any]]:
    """Splits steps into calls of at most `most` items, alike ones together; `joined`: alike ones are a single request.

    Steps of one trader share a call, or the later ones stay behind: two calls that name the same trader are never in
    flight together.
    """
    groups: list[_Group] = []
    of_trader: dict[str, _Group] = {}
    filling: dict[str | None, _Group] = {}
    for row in rows:
        group = of_trader.get(row["trader_key"])
        if group is None:
            group = filling.get(row["alike"])
            if group is None or not group.takes(row):
                room = JOINED if joined and row["alike"] is not None else most
                group = filling[row["alike"]] = _Group(row["alike"], room)
                groups.append(group)
        elif not group.takes(row):
            continue
        group.add(row)
        of_trader[row["trader_key"]] = group
    return [group.rows for group in groups]
