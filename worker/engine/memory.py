"""What a step remembers between two attempts: one type for each situation. Kept in the column `step.memory` as JSON.

It is not encrypted: ids, counts, and texts that are masked already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Retrying:
    """Attempts that gave no result. They determine the back-off."""

    sends: int = 0
    look_ups: int = 0
    empty: int = 0  # calls that were answered with an empty 404 or 405


@dataclass(frozen=True, slots=True)
class BatchFailures:
    """Failed calls of the batch that the step is in; see `steps/splitting.py`."""

    call: int  # the call that failed last, or that was split
    count: int = 0  # failures of this part since it was split off
    depth: int = 0  # how often it was split off
    since: int | None = None  # the call that failed before `call`
    size: int = 0  # steps in `call`
    parts: int = 1  # things that this step asks for, or keeps waiting
    batch_id: int | None = None  # what tied the part together
    undecided: bool = False  # nothing has been decided about this failure yet

    @property
    def before(self) -> int:
        """The call after which another one's answer shows that the partner serves the operation."""
        return self.call if self.since is None else self.since


@dataclass(frozen=True, slots=True)
class Verifying:
    """Looked up since the rejection may be about what an earlier call made. It ends with `rejection` if none did."""

    rejection: str


@dataclass(frozen=True, slots=True)
class Splitting:
    """Looked up since its batch of `size` steps was rejected as a whole; then sent in the batch `batch_id`."""

    batch_id: int
    size: int


@dataclass(frozen=True, slots=True)
class CheckingNeeds:
    """Its call was answered with an empty 404: a read finds out whether what it needs is there."""


@dataclass(frozen=True, slots=True)
class TicketPlace:
    """Its place in a body that is sent again with a penalty ticket: nothing else ties a result to its item."""

    place: int


@dataclass(frozen=True, slots=True)
class FoundBefore:
    """It was looked up before the first send and was not there. `others`: ids of what was, and is not its effect."""

    others: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """All that a step remembers. `why`: why it is looked up, if not to find out what its call did."""

    retrying: Retrying = Retrying()
    failures: BatchFailures | None = None
    why: Verifying | Splitting | CheckingNeeds | None = None
    ticket: TicketPlace | None = None
    before: FoundBefore | None = None
    all_or_nothing: bool = False  # a look-up showed that a batch that is rejected as a whole leaves nothing behind

    def with_failures(self, failures: BatchFailures) -> Memory:
        """The same with these failures of its batch."""
        return replace(self, failures=failures)

    def to_json(self) -> dict[str, Any]:
        """Without what is as at the start."""
        kept: dict[str, Any] = {}
        if self.retrying != Retrying():
            kept["retrying"] = asdict(self.retrying)
        for name, value in (("failures", self.failures), ("ticket", self.ticket), ("before", self.before)):
            if value is not None:
                kept[name] = asdict(value)
        if self.why is not None:
            kept[_WHY_NAMES[type(self.why)]] = asdict(self.why)
        if self.all_or_nothing:
            kept["all_or_nothing"] = True
        return kept

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Memory:
        """What `to_json` returned."""
        if not kept:
            return EMPTY
        before = kept.get("before")
        return cls(
            retrying=Retrying(**kept.get("retrying", {})),
            failures=BatchFailures(**kept["failures"]) if "failures" in kept else None,
            why=next((kind(**kept[name]) for name, kind in _WHY.items() if name in kept), None),
            ticket=TicketPlace(**kept["ticket"]) if "ticket" in kept else None,
            before=FoundBefore(tuple(before["others"])) if before is not None else None,
            all_or_nothing=kept.get("all_or_nothing", False),
        )


_WHY: Mapping[str, type[Verifying | Splitting | CheckingNeeds]] = {
    "verifying": Verifying,
    "splitting": Splitting,
    "checking_needs": CheckingNeeds,
}
_WHY_NAMES = {kind: name for name, kind in _WHY.items()}

EMPTY = Memory()
