"""What a sample of `demo` is: an event on its way through a flow, what should come of it, what should take effect.

A new flow adds samples to `purchases` or `others`, and nothing elsewhere. Every event is synthetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Of:
    """A value that another event's final outcome has brought, such as the account that a purchase made."""

    event_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Expect:
    """The final outcome that an event should get.

    `like` names an event whose ids it should share; `values` are further fields of it; `pending` is the `requestStatus`
    of each outcome before the final one.
    """

    status: str = "succeeded"
    error_code: str | None = None
    dead_letter: str | None = None
    warnings: int = 0
    like: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    pending: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """An event on its way through a flow. Values of `event` and `expect` may be an `Of`: then it waits for them.

    `after`: the event whose outcome must be there before this one is sent. `behind`: the event whose flow must be
    waiting for something before. `times`: how often it is sent. `effects`: what it makes at Tradovate, in the
    simulator's own words. `reviews`: what Tradovate's desk decides, one after each pending outcome. `plain`: one of
    many, not shown one by one. `signs`: nothing is sent, the trader signs at Tradovate, and the bridge makes the event.
    """

    title: str
    topic: str
    event: Mapping[str, Any]
    expect: Expect = Expect()
    effects: Mapping[str, int] = field(default_factory=dict)
    after: str | None = None
    behind: str | None = None
    times: int = 1
    reviews: Sequence[str] = ()
    plain: bool = False
    signs: bool = False

    @property
    def event_id(self) -> str:
        """The event's id; of one that the bridge makes, the name that it has here."""
        return str(self.event["eventId"])

    @property
    def needs(self) -> Sequence[str]:
        """The events whose final outcomes must be there before this one is sent."""
        named = [each.event_id for each in _references(self.event)]
        return list(dict.fromkeys([*named, *([self.after] if self.after is not None else [])]))


def filled(value: Any, outcomes: Mapping[str, Mapping[str, Any]]) -> Any:
    """`value` with what the final `outcomes` (by event id) have brought in the place of every `Of`."""
    match value:
        case Of(event_id=event_id, name=name):
            return outcomes.get(event_id, {}).get(name)
        case Mapping():
            return {name: filled(each, outcomes) for name, each in value.items()}
        case list() | tuple():
            return [filled(each, outcomes) for each in value]
        case _:
            return value


def _references(value: Any) -> Iterator[Of]:
    match value:
        case Of():
            yield value
        case Mapping():
            for each in value.values():
                yield from _references(each)
        case list() | tuple():
            for each in value:
                yield from _references(each)
        case _:
            pass
