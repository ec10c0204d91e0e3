"""The partner's bodies: what we ask for, and the entities that we read. Only the fields and calls that we use.

Requests are strict and complete: what Tradovate would refuse is refused here. Entities are lenient: fields come and
go between the vendor's releases, so all but `id` may be missing and unknown ones are ignored. Dollars are floats.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from schemas.base import (
    PERSONAL,
    AccountName,
    Email,
    Id,
    LegalName,
    LooseText,
    PartName,
    Password,
    Text,
)
from schemas.countries import Country
from schemas.risk import PostTradeRisk, PreTradeRisk

DocumentType = Literal["POAForm", "Id", "AddressVerificationFAFTA"]
RequestStatus = Literal["Approved", "Denied", "InAMLReview", "InReview", "Pending", "Preapproved"]

PERMISSION_USABLE = frozenset({"Accepted", "Approved"})
"""Statuses of a trading permission that lets its trader in: what the vendor's samples say, and what live rows say."""
PERMISSION_LIVE = PERMISSION_USABLE | {"Requested"}
"""Those, and the one of a permission that is asked for."""
PERMISSION_ENDED = frozenset({"Revoked", "Declined"})
"""Statuses of a trading permission that lets nobody in. A status that is in none of these sets may let its trader in,
and proves nothing: it is revoked, and it is not adopted."""

MOST_ITEMS = 100
"""Items of one call (Tradovate, create evaluation users and accounts; what it recommends for cancel everything)."""


class Request(BaseModel):
    """A body, or one item of a body. Made with snake_case or camelCase names."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """The JSON object that is sent: what is not given is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class TradeDate(Request):
    """A day as Tradovate writes it."""

    year: Annotated[int, Field(ge=1, le=9999)]
    month: Annotated[int, Field(ge=1, le=12)]
    day: Annotated[int, Field(ge=1, le=31)]

    @classmethod
    def of(cls, day: date) -> Self:
        """That day."""
        return cls(year=day.year, month=day.month, day=day.day)


class EvaluationUser(Request):
    """An item of createEvaluationUsers (LIVE)."""

    name: Annotated[Text, PERSONAL]
    email: Annotated[Email, PERSONAL]
    password: Annotated[Password, PERSONAL]
    first_name: Annotated[PartName, PERSONAL]
    last_name: Annotated[PartName, PERSONAL]
    tradovate_subscription_plan_id: Id | None = None


class ContactInfoUpdate(Request):
    """The body of updateContactInfo (LIVE). `state` is needed when `country` is US."""

    user_id: Id
    first_name: Annotated[PartName, PERSONAL]
    last_name: Annotated[PartName, PERSONAL]
    street_address1: Annotated[Text, PERSONAL]
    street_address2: Annotated[LooseText | None, PERSONAL] = None
    city: Annotated[Text, PERSONAL]
    state: LooseText | None = None
    post_code: Annotated[LooseText | None, PERSONAL] = None
    country: Country
    phone: Annotated[Text, PERSONAL]
    mailing_is_different: bool | None = None
    mailing_street_address1: Annotated[LooseText | None, PERSONAL] = None
    mailing_street_address2: Annotated[LooseText | None, PERSONAL] = None
    mailing_city: Annotated[LooseText | None, PERSONAL] = None
    mailing_state: LooseText | None = None
    mailing_post_code: Annotated[LooseText | None, PERSONAL] = None
    mailing_country: Country | None = None
    joint_first_name: Annotated[LooseText | None, PERSONAL] = None
    joint_last_name: Annotated[LooseText | None, PERSONAL] = None


class EvaluationAccount(Request):
    """An item of createEvaluationAccounts (DEMO): the account and `user_id`'s trading permission on it."""

    user_id: Id
    template_account_id: Id
    name: AccountName
    initial_balance: float
    pre_trade_risk: Annotated[tuple[PreTradeRisk, ...] | None, Field(strict=False)] = None
    post_trade_risk: PostTradeRisk | None = None


class TradingPermissionCreation(Request):
    """The body of createTradingPermission (DEMO)."""

    account_id: Id
    user_id: Id


class TradingPermissionRequest(Request):
    """The body of requestTradingPermission (DEMO)."""

    account_id: Id
    cta_contact: Annotated[Text, PERSONAL]
    cta_email: Annotated[Email, PERSONAL]


class TradingPermissionsRevocation(Request):
    """The body of revokeTradingPermissions (DEMO)."""

    trading_permission_ids: Annotated[tuple[Id, ...], Field(strict=False)]


class CancelEverything(Request):
    """The body of cancelEverything (LIVE and DEMO).

    All four flags are always sent: what a missing one means is told differently from page to page.
    """

    user_ids: Annotated[tuple[Id, ...], Field(strict=False)]
    tradovate_subscriptions: bool = True
    user_plugins: bool = True
    market_data_subscriptions: bool = True
    trading_permissions: bool = True


class EntitlementSubscription(Request):
    """The body of addEntitlementSubscription (LIVE). Without `user_id` it would be bought for the administrator."""

    entitlement_id: Id
    user_id: Id


class DemoAccountReset(Request):
    """The body of resetDemoAccountState (DEMO)."""

    account_ids: Annotated[tuple[Id, ...], Field(strict=False)]
    reset_trade_date: TradeDate


class SubaccountRequest(Request):
    """The body of createPartnerSubaccountRequest (LIVE). Moves money. All three documents or none."""

    cta_user_id: Id
    risk_category_id: Id
    auto_liq_profile_id: Id | None = None
    trader_reason: LooseText | None = None
    margin_type: Literal["Hedger", "Speculator"]
    transfer_amount: float
    authorized_individual: bool
    first_name: Annotated[LegalName, PERSONAL]
    last_name: Annotated[LegalName, PERSONAL]
    country: Country
    state: Text
    street_address1: Annotated[Text, PERSONAL]
    street_address2: Annotated[LooseText | None, PERSONAL] = None
    city: Annotated[Text, PERSONAL]
    zip_code: Annotated[Text, PERSONAL]
    phone: Annotated[Text, PERSONAL]
    citizenship: Country
    tax_identifier: Annotated[LooseText | None, PERSONAL] = None
    national_id: Annotated[LooseText | None, PERSONAL] = None
    birth_date: Annotated[TradeDate, PERSONAL]
    poa_form_doc_id: Annotated[Id | None, Field(alias="pOAFormDocId")] = None
    government_doc_id: Id | None = None
    address_doc_id: Id | None = None


class SubaccountDocument(Request):
    """The body of submitPartnerSubaccountDocument (LIVE). `filename`: 5 to 64 characters. `base64data`: a data URI."""

    sub_account_request_id: Id
    document_type: DocumentType
    filename: Annotated[str, Field(min_length=5, max_length=64)]
    base64data: Annotated[str, PERSONAL, Field(alias="base64data", max_length=8_388_608)]


class SubaccountStatus(Request):
    """The body of getPartnerSubaccountRequestStatus (LIVE)."""

    sub_account_request_id: Id


class DuplicateCheck(Request):
    """The body of checkDuplicate (LIVE): `ok: false` is a possible duplicate."""

    user_id: Id | None = None
    tax_identifier: Annotated[LooseText | None, PERSONAL] = None
    national_id: Annotated[LooseText | None, PERSONAL] = None
    country_code: Country | None = None


class Entity(BaseModel):
    """Something that Tradovate keeps. Times stay as the texts that came, enums too: a new value must not stop us."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, hide_input_in_errors=True)

    id: int


class User(Entity):
    """A trader's user (LIVE). `status`: Active, Closed, Initiated, TemporaryLocked, UnconfirmedEmail."""

    name: Annotated[str | None, PERSONAL] = None
    email: Annotated[str | None, PERSONAL] = None
    status: str | None = None
    organization_id: int | None = None


class Account(Entity):
    """An account (evaluations: DEMO). `user_id` is its holder's, not the trader's."""

    name: str | None = None
    user_id: int | None = None
    closed: bool | None = None
    evaluation_size: float | None = None


class TradingPermission(Entity):
    """`status`: Accepted, Approved, Declined, Requested, Revoked."""

    user_id: int | None = None
    account_id: int | None = None
    status: str | None = None
    cta_contact: Annotated[str | None, PERSONAL] = None
    cta_email: Annotated[str | None, PERSONAL] = None
    updated: str | None = None


class ContactInfo(Entity):
    """A user's contact data (LIVE)."""

    user_id: int | None = None
    first_name: Annotated[str | None, PERSONAL] = None
    last_name: Annotated[str | None, PERSONAL] = None
    street_address1: Annotated[str | None, PERSONAL] = None
    city: Annotated[str | None, PERSONAL] = None
    state: str | None = None
    post_code: Annotated[str | None, PERSONAL] = None
    country: str | None = None
    phone: Annotated[str | None, PERSONAL] = None


class UserPlugin(Entity):
    """An entitlement that a user has (LIVE)."""

    user_id: int | None = None
    entitlement_id: int | None = None
    plugin_name: str | None = None
    expiration_date: str | dict[str, int] | None = None  # a TradeDate or a time, by the vendor's release
    autorenewal: bool | None = None


class TradovateSubscription(Entity):
    """A user's membership (LIVE)."""

    user_id: int | None = None
    tradovate_subscription_plan_id: int | None = None
    expiration_date: str | dict[str, int] | None = None
    cancelled_renewal: bool | None = None


class MarketDataSubscription(Entity):
    """A user's market data (LIVE)."""

    user_id: int | None = None
    market_data_subscription_plan_id: int | None = None
    expired: bool | None = None


class AdminAlertSignal(Entity):
    """An alert of the organization. The trader is `related_to_user_id`, neither `subject_id` nor the name in `text`."""

    admin_alert_id: int | None = None
    timestamp: str | None = None
    related_to_user_id: int | None = None
    related_to_account_id: int | None = None
    subject_id: int | None = None
    text: Annotated[str | None, PERSONAL] = None
    completed: str | None = None
    archived: bool | None = None
