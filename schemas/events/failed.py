"""`trader.failed`: a trader broke a rule of the evaluation; the accounts go out of reach at once."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from schemas.base import MOST_ENTRIES, Id, Key, LooseText, lacking
from schemas.events.base import Event


class TraderFailed(Event):
    """Revoke by order, by account, by trading permission, or by several of these."""

    topic: ClassVar[str] = "trader.failed"

    trader_id: Key
    order_id: Key | None = None
    account_id: Id | None = None
    trading_permission_ids: Annotated[
        tuple[Id, ...] | None, Field(strict=False, fail_fast=True, max_length=MOST_ENTRIES)
    ] = None
    reason: LooseText | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.order_id is None and self.account_id is None and not self.trading_permission_ids:
            raise lacking("orderId", "is missing, and neither accountId nor tradingPermissionIds is given in its place")
        return self
