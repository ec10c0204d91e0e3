"""Risk limits of an evaluation account, by Tradovate's names (create evaluation accounts, `preTradeRisk` and
`postTradeRisk`). The same blocks stand in our events, in the catalogue and in the partner's request.

Unknown fields are errors here: a misspelt limit would trade without it. A limit that is absent or null is off.
Money in dollars, percentages in percent.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.base import MOST_ENTRIES, Count, Id, LooseText, StrictWire, Time

TotalBy = TypeAliasType(
    "TotalBy",
    Literal[
        "Contract", "ContractGroup", "DiscountGroup", "Exchange", "FungibleProduct", "Overall", "Product", "ProductType"
    ],
)
ProductType = TypeAliasType(
    "ProductType",
    Literal["CommonStock", "Continuous", "Cryptocurrency", "Futures", "MarketInternals", "Options", "Spread", "Swap"],
)
VerificationStatus = TypeAliasType(
    "VerificationStatus", Literal["Inactive", "Locked", "ReadyForContracts", "ReadyToTrade", "Verified"]
)
TrailingMode = TypeAliasType("TrailingMode", Literal["EOD", "RealTime", "SteppedEOD", "SteppedRealTime"])


class _Scope(StrictWire):
    """What a limit is about."""

    contract_id: Id | None = None
    """The limit is about this contract."""
    product_id: Id | None = None
    """The limit is about this product."""
    exchange_id: Id | None = None
    """The limit is about this exchange."""
    product_type: ProductType | None = None
    """The limit is about products of this type."""
    risk_discount_contract_group_id: Id | None = None
    """The limit is about this discount group of contracts."""
    product_verification_status: VerificationStatus | None = None
    """The limit is about products with this status."""
    contract_group_id: Id | None = None
    """The limit is about this group of contracts."""
    fungible_product_id: Id | None = None
    """The limit is about this product and those that are fungible with it."""


class PreTradeRiskParameter(_Scope):
    """One parameter of a position limit (Tradovate's userAccountRiskParameter)."""

    max_opening_order_qty: Count | None = None
    """Contracts in one order that opens a position, at most."""
    max_closing_order_qty: Count | None = None
    """Contracts in one order that closes a position, at most."""
    fungible_max_opening_order_qty: Count | None = None
    """As maxOpeningOrderQty, counted in the fungible product."""
    fungible_max_closing_order_qty: Count | None = None
    """As maxClosingOrderQty, counted in the fungible product."""
    max_back_month: Count | None = None
    """Contract months after the front month, at most."""
    pre_expiration_days: Count | None = None
    """Days before the expiration of a contract."""
    margin_percentage: float | None = None
    """Margin in percent."""
    margin_dollar_value: float | None = None
    """Margin in US dollars."""
    hard_limit: bool | None = None
    """Tradovate's hardLimit."""


class PreTradeRisk(_Scope):
    """A position limit (Tradovate's userAccountPositionLimit) with its parameters."""

    active: bool
    """Whether the limit is in force."""
    total_by: TotalBy
    parameters: Annotated[
        tuple[PreTradeRiskParameter, ...], Field(strict=False, fail_fast=True, max_length=MOST_ENTRIES)
    ]
    """At most 1000 parameters."""
    risk_time_period_id: Id | None = None
    """Tradovate's id of a period of the day."""
    short_limit: Count | None = None
    """Contracts short, at most."""
    long_limit: Count | None = None
    """Contracts long, at most."""
    exposed_limit: Count | None = None
    """Contracts exposed, at most."""
    fungible_exposed_limit: Count | None = None
    """As exposedLimit, counted in the fungible product."""
    description: LooseText | None = None
    """A note for people."""


class PostTradeRisk(StrictWire):
    """Daily loss, trailing drawdown and the rest (Tradovate's userAccountAutoLiq); they are not in the template.

    A limit that is absent or null is off. What "liquidates" closes all positions and locks the account.
    Daily limits unlock at the next market open, weekly ones on Sunday.
    """

    margin_percentage_alert: float | None = None
    """Margin in percent: raises an alert."""
    daily_loss_percentage_alert: float | None = None
    """Loss of a day in percent: raises an alert."""
    daily_loss_alert: float | None = None
    """Loss of a day in US dollars: raises an alert."""
    margin_percentage_liq_only: float | None = None
    """Margin in percent: orders may only close positions."""
    daily_loss_percentage_liq_only: float | None = None
    """Loss of a day in percent: orders may only close positions."""
    daily_loss_liq_only: float | None = None
    """Loss of a day in US dollars: orders may only close positions."""
    margin_percentage_auto_liq: float | None = None
    """Margin in percent: liquidates."""
    daily_loss_percentage_auto_liq: float | None = None
    """Loss of a day in percent: liquidates."""
    daily_loss_auto_liq: float | None = None
    """Loss of a day in US dollars: liquidates."""
    weekly_loss_auto_liq: float | None = None
    """Loss of a week in US dollars: liquidates."""
    flatten_timestamp: Time | None = None
    """When Tradovate closes all positions, once: a time with its offset from UTC (RFC 3339)."""
    trailing_max_drawdown: float | None = None
    """US dollars below the highest balance: liquidates."""
    trailing_max_drawdown_limit: float | None = None
    """US dollars: the balance at which trailing stops, such as 100100 on an account of 100,000."""
    trailing_max_drawdown_mode: TrailingMode | None = None
    """When the highest balance is read: at the end of each day (EOD) or always (RealTime)."""
    daily_profit_auto_liq: float | None = None
    """Profit of a day in US dollars: liquidates."""
    weekly_profit_auto_liq: float | None = None
    """Profit of a week in US dollars: liquidates."""
    do_not_unlock: bool | None = None
    """Whether an account locked by a daily limit stays locked until an administrator unlocks it."""
    changes_locked: bool | None = None
    """Tradovate's changesLocked."""
