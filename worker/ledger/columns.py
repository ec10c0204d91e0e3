"""Rows as columns: many rows are written by one statement, whose arguments are an array for each column (`unnest`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any


def columns(rows: Sequence[Any], *names: str) -> list[list[Any]]:
    """These attributes of the rows, each as a column."""
    return [column(map(attrgetter(name), rows)) for name in names]


def column(values: Iterable[Any]) -> list[Any]:
    """The values. A column of nothing but nulls is sent empty: `unnest` fills it with nulls, and the driver has
    nothing to encode.
    """
    found = list(values)
    return [] if found.count(None) == len(found) else found
