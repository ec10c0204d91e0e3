"""What all input events share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import orjson
from pydantic.alias_generators import to_camel

from schemas.base import Wire
from schemas.privacy import personal_values
from schemas.rules import KEPT

Examples = tuple[Mapping[str, Any], ...]


class Ids(NamedTuple):
    """The ids that an event names; None: it does not name one."""

    trader_id: str | None = None
    order_id: str | None = None
    user_id: int | None = None
    account_id: int | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Ids:
        """The ids in a body as the shop wrote it; their types are not checked."""
        return cls(*(body.get(to_camel(name)) for name in cls._fields))

    @property
    def key(self) -> str | None:
        """A key that keeps a trader's events in their order: the trader, the user, the account or else the order."""
        found = self.trader_id or self.user_id or self.account_id or self.order_id
        return None if found is None else str(found)


class Event(Wire):
    """An input event's body. Its id is not part of it: it may stand in a header or an envelope (schemas/README.md)."""

    topic: ClassVar[str]
    """Without prefix."""
    key_is: ClassVar[str] = "Free; traderId is a good one"
    """What the record's key is; `key` gives one to a producer."""
    examples: ClassVar[Examples]
    """Good bodies with their `eventId`, the plainest first. They are in the exported schemas."""

    @property
    def key(self) -> str | None:
        """See `Ids.key`."""
        return self.ids.key

    @property
    def ids(self) -> Ids:
        """The ids that the event gives, for its outcome."""
        return Ids(*(getattr(self, name, None) for name in Ids._fields))

    def personal_values(self) -> frozenset[str]:
        """Values of personal fields that may be echoed in an error text; never ids."""
        return personal_values(self)

    def keep(self) -> bytes:
        """The event as JSON, to be encrypted and kept while its flow runs. It holds personal data."""
        return self.model_dump_json(by_alias=True, exclude_unset=True).encode()

    def content(self) -> bytes:
        """What the event says, equal for equal events: the order of fields, white space, fields that are unknown, and
        whether a default was written or left out make no difference. It holds personal data.
        """
        said = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def restore(cls, kept: bytes | str) -> Self:
        """The event that `keep` wrote. Unlike a shop's it may hold both a product and the account it stands for."""
        return cls.model_validate_json(kept, context=KEPT)
