"""Which events of a batch are new, which are repeats, and which carry the id of another event. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.engine.rows import IncomingEvent
from worker.engine.snapshot import Digests

Key = tuple[str, str]
"""Topic and event id."""


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """What the ledger has of an event. `content`: a keyed hash of what it says, None where that is not known."""

    content: bytes | None
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Sorted:
    """`new`: one for each new id. `reused`: events that say something else than the first one of their id. `moved`:
    repeats of known events that stand at another place now (sent again, or the topic was created again).
    """

    new: list[IncomingEvent] = field(default_factory=list)
    reused: list[IncomingEvent] = field(default_factory=list)
    moved: list[IncomingEvent] = field(default_factory=list)


def sort_out(events: Sequence[IncomingEvent], known: Mapping[Key, KnownEvent], digests: Digests) -> Sorted:
    """`known`: what the ledger has of these events. Of two with the same id in one batch the first one counts."""
    found = Sorted()
    first: dict[Key, IncomingEvent] = {}
    for event in events:
        key = event.topic, event.event_id
        there = known.get(key)
        if there is not None:
            if there.content is not None and digests.differs(there.content, event.event.content()):
                found.reused.append(event)
            elif (there.partition, there.offset) != (event.partition, event.offset):
                found.moved.append(event)
        elif key not in first:
            first[key] = event
            found.new.append(event)
        elif first[key].event.content() != event.event.content():
            found.reused.append(event)
    return found
