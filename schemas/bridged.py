"""What the bridge publishes beside `md.signed`: Tradovate's other signals and changes (README, "Topics")."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from schemas.base import PERSONAL, Id
from schemas.events import Examples


class _Lenient(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        alias_generator=to_camel,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


class Bridged(_Lenient):
    """A record of the bridge's own topics. `topic`: without prefix. `key_is`: what its key is."""

    topic: ClassVar[str]
    key_is: ClassVar[str]
    examples: ClassVar[Examples]


class AdminAlert(Bridged):
    """An admin alert of Tradovate other than the Market Data Agreement, as received. Drop repeats by eventId."""

    topic: ClassVar[str] = "admin.alert"
    key_is: ClassVar[str] = "The user's id, or none"
    examples: ClassVar[Examples] = (
        {
            "eventId": "alert-2179592",
            "signalId": 2179592,
            "adminAlertId": 12,
            "userId": 29721,
            "accountId": None,
            "signal": {"id": 2179592, "adminAlertId": 12, "relatedToUserId": 29721, "completed": None},
        },
    )

    event_id: Annotated[str, Field(pattern="^alert-[0-9]+$")]
    """`alert-` and the id of the signal: the same alert always has the same."""
    signal_id: Id
    """Tradovate's id of the signal."""
    admin_alert_id: Id
    """Tradovate's id of the kind of alert."""
    user_id: Id | None
    """The user whom the alert is about (relatedToUserId)."""
    account_id: Id | None
    """The account that the alert is about (relatedToAccountId)."""
    signal: Annotated[dict[str, Any] | None, PERSONAL]
    """The signal as Tradovate sent it; its text may name a person. Null when it is too large for the topic."""


class RiskStatus(_Lenient):
    """An account's risk status as Tradovate sent it (accountRiskStatus). Fields come and go with its releases."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    auto_liq_counter: int | None = None
    """How often the account has been liquidated. This and the fields up to adminTimestamp make a change."""
    auto_liq_started: str | None = None
    """When the last liquidation began: a time as Tradovate writes it."""
    auto_liq_stopped: str | None = None
    """When the last liquidation ended: a time as Tradovate writes it."""
    liquidate_only: str | None = None
    """Since when orders may only close positions: a time as Tradovate writes it."""
    user_triggered_liq_only: bool | None = None
    """Whether the trader did that."""
    admin_action: str | None = None
    """The last action of an administrator, such as Normal or LockTradingImmediately."""
    admin_timestamp: str | None = None
    """When that was: a time as Tradovate writes it."""
    max_net_liq: float | None = None
    """US dollars: Tradovate's maxNetLiq."""
    max_net_liq_timestamp: str | None = None
    """When that was: a time as Tradovate writes it."""
    min_net_liq: float | None = None
    """US dollars: Tradovate's minNetLiq."""


_NORMAL: Final = {"autoLiqCounter": 0, "liquidateOnly": None, "userTriggeredLiqOnly": False, "adminAction": "Normal"}


class AccountRiskStatus(Bridged):
    """A change of an account's risk status on DEMO. It says what happened; whether the trader failed, you decide.

    Published with BRIDGE_RISK_STATUS=on. Drop repeats by eventId. `before` is as it was published last, or as the
    account was first seen; it is empty for a new account that was first heard of by its change.
    """

    topic: ClassVar[str] = "account.risk_status"
    key_is: ClassVar[str] = "The account's id"
    examples: ClassVar[Examples] = (
        {
            "eventId": "risk-98765-1-5f2c0d9be1a47c63",
            "accountId": 98765,
            "userTriggered": False,
            "before": _NORMAL,
            "now": {**_NORMAL, "autoLiqCounter": 1, "liquidateOnly": "2026-11-20T16:03:11.512Z"},
        },
    )

    event_id: Annotated[str, Field(pattern="^risk-[0-9]+-[0-9]+-[0-9a-f]{16}$")]
    """Account, number of the change, digest of what changed: the same change always has the same."""
    account_id: Id
    """The account at Tradovate (DEMO)."""
    user_triggered: bool
    """Whether the trader restricted the account (userTriggeredLiqOnly): then it is no breach of a limit."""
    before: RiskStatus
    now: RiskStatus


BRIDGED: Final[Mapping[str, type[Bridged]]] = MappingProxyType(
    {each.topic: each for each in (AdminAlert, AccountRiskStatus)}
)
"""Topic without prefix -> what the bridge publishes there."""
