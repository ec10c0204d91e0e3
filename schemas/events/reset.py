"""`account.reset`: an evaluation account goes back to the start of a trading day."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from schemas.base import Date, Id, Key, lacking
from schemas.events.base import Event


class AccountReset(Event):
    """Tradovate, reset demo account state. `trade_date`: the session whose opening state comes back.

    An account given beside an order has to be that order's: the flow looks.
    """

    topic: ClassVar[str] = "account.reset"

    account_id: Id | None = None
    order_id: Key | None = None
    trade_date: Date

    @model_validator(mode="after")
    def _names_the_account(self) -> Self:
        if self.account_id is None and self.order_id is None:
            raise lacking("accountId", "is missing, and orderId is not given in its place")
        return self
