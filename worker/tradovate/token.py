"""The access token that goes with every call."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Token:
    """The shared access token. `generation` goes with each call that uses it; times are the database's."""

    value: str = field(repr=False)
    generation: int
    issued_at: datetime
    expires_at: datetime
    user_id: int | None = None
