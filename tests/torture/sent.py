"""What the shop has sent, and what it knows of a trader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sent:
    """An event with an id of its own. `invalid`: it must end so."""

    topic: str
    body: Mapping[str, Any]
    key: bytes
    invalid: bool = False

    @property
    def event_id(self) -> str:
        """Its id."""
        return str(self.body["eventId"])


@dataclass
class Trader:
    """What the shop knows of a trader."""

    number: int
    orders: list[str] = field(default_factory=list)
    signed: bool = False
    passed: bool = False
    left: bool = False
    failed: set[str] = field(default_factory=set)

    @property
    def id(self) -> str:
        """Its id in events."""
        return f"cust-{self.number}"
