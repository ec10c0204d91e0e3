"""Risk statuses of accounts in what a socket brings: finds them, and neither reads nor cleans them. Pure.

They come in two places: `props` events (`d` is an event or a list of events; `entity` is a row or a list of rows, flat
or in a wrapper), and the parts of the response to the sync request, each with some rows of some entities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ENTITY_TYPE", "rows_of_answer", "rows_of_event"]

ENTITY_TYPE = "accountRiskStatus"
"""The entity's name in a sync request and in events."""

_FAMILY = "accountRiskStatuses"


def rows_of_event(body: Any) -> list[Any]:
    """The rows in `d` of a `props` event; none for other entities. What was deleted says nothing of a status."""
    rows: list[Any] = []
    for event in body if isinstance(body, list) else [body]:
        kind = event.get("entityType") if isinstance(event, dict) else None
        if not isinstance(kind, str) or kind.lower() != ENTITY_TYPE.lower():
            continue
        if str(event.get("eventType")).lower() != "deleted":
            rows += _rows(event.get("entity"))
    return rows


def rows_of_answer(body: Any) -> list[Any] | None:
    """The rows in `d` of a part of the answer; None when the family is not in it."""
    family = body.get(_FAMILY) if isinstance(body, Mapping) else None
    return None if family is None else _rows(family)


def _rows(entity: Any) -> list[Any]:
    rows: list[Any] = []
    for item in entity if isinstance(entity, list) else [entity]:
        inner = item[ENTITY_TYPE] if isinstance(item, dict) and ENTITY_TYPE in item else item
        rows += inner if isinstance(inner, list) else [inner]
    return rows
