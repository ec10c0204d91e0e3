"""Risk limits of an evaluation account, by Tradovate's names (create evaluation accounts, `preTradeRisk` and
`postTradeRisk`). The same blocks stand in our events, in the catalogue and in the partner's request.

Unknown fields are errors here: a misspelt limit would trade without it. A limit that is absent or null is off.
Money in dollars, percentages in percent.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import MOST_ENTRIES, Count, Id, LooseText, StrictWire, Time

TotalBy = Literal[
    "Contract", "ContractGroup", "DiscountGroup", "Exchange", "FungibleProduct", "Overall", "Product", "ProductType"
]
ProductType = Literal[
    "CommonStock", "Continuous", "Cryptocurrency", "Futures", "MarketInternals", "Options", "Spread", "Swap"
]
VerificationStatus = Literal["Inactive", "Locked", "ReadyForContracts", "ReadyToTrade", "Verified"]
TrailingMode = Literal["EOD", "RealTime", "SteppedEOD", "SteppedRealTime"]


class _Scope(StrictWire):
    """What a limit is about."""

    contract_id: Id | None = None
    product_id: Id | None = None
    exchange_id: Id | None = None
    product_type: ProductType | None = None
    risk_discount_contract_group_id: Id | None = None
    product_verification_status: VerificationStatus | None = None
    contract_group_id: Id | None = None
    fungible_product_id: Id | None = None


class PreTradeRiskParameter(_Scope):
    """One parameter of a position limit (Tradovate's userAccountRiskParameter)."""

    max_opening_order_qty: Count | None = None
    max_closing_order_qty: Count | None = None
    fungible_max_opening_order_qty: Count | None = None
    fungible_max_closing_order_qty: Count | None = None
    max_back_month: Count | None = None
    pre_expiration_days: Count | None = None
    margin_percentage: float | None = None
    margin_dollar_value: float | None = None
    hard_limit: bool | None = None


class PreTradeRisk(_Scope):
    """A position limit (Tradovate's userAccountPositionLimit) with its parameters."""

    active: bool
    total_by: TotalBy
    parameters: Annotated[
        tuple[PreTradeRiskParameter, ...], Field(strict=False, fail_fast=True, max_length=MOST_ENTRIES)
    ]
    risk_time_period_id: Id | None = None
    short_limit: Count | None = None
    long_limit: Count | None = None
    exposed_limit: Count | None = None
    fungible_exposed_limit: Count | None = None
    description: LooseText | None = None


class PostTradeRisk(StrictWire):
    """Daily loss, trailing drawdown and the rest (Tradovate's userAccountAutoLiq); they are not in the template.

    Daily limits unlock at the next market open, weekly ones on Sunday. `trailing_max_drawdown_limit` is the level at
    which trailing stops, such as 100100 on a 100,000 account. `flatten_timestamp` flattens once, at that time.
    """

    margin_percentage_alert: float | None = None
    daily_loss_percentage_alert: float | None = None
    daily_loss_alert: float | None = None
    margin_percentage_liq_only: float | None = None
    daily_loss_percentage_liq_only: float | None = None
    daily_loss_liq_only: float | None = None
    margin_percentage_auto_liq: float | None = None
    daily_loss_percentage_auto_liq: float | None = None
    daily_loss_auto_liq: float | None = None
    weekly_loss_auto_liq: float | None = None
    flatten_timestamp: Time | None = None
    trailing_max_drawdown: float | None = None
    trailing_max_drawdown_limit: float | None = None
    trailing_max_drawdown_mode: TrailingMode | None = None
    daily_profit_auto_liq: float | None = None
    weekly_profit_auto_liq: float | None = None
    do_not_unlock: bool | None = None
    changes_locked: bool | None = None
