"""The access token that goes with every call, and the hosts that the calls go to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from worker.replies import Domain


@dataclass(frozen=True, slots=True)
class Token:
    """The shared access token. `generation` goes with each call that uses it; times are the database's.

    `hosts`: those that take the place of the settings' own, as of this generation. A call uses token and hosts of one
    generation; when a host changes, so does the generation.
    """

    value: str = field(repr=False)
    generation: int
    issued_at: datetime
    expires_at: datetime
    user_id: int | None = None
    hosts: Mapping[Domain, str] = field(default_factory=dict)
