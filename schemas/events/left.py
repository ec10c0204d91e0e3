"""`trader.left`: a trader goes for good; everything is cancelled, at the trading day's end unless `immediate`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, model_validator

from schemas.base import Id, Key, LooseText, lacking
from schemas.events.base import Event


def _not_said(value: object) -> object:
    """Null is as good as nothing, as in every other field that may be left out."""
    return False if value is None else value


class TraderLeft(Event):
    """`immediate`: do not wait for the day's end."""

    topic: ClassVar[str] = "trader.left"

    trader_id: Key | None = None
    user_id: Id | None = None
    immediate: Annotated[bool, BeforeValidator(_not_said, json_schema_input_type=bool | None)] = False
    reason: LooseText | None = None

    @model_validator(mode="after")
    def _names_the_trader(self) -> Self:
        if self.trader_id is None and self.user_id is None:
            raise lacking("traderId", "is missing, and userId is not given in its place")
        return self
