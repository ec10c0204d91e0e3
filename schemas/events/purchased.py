"""`trader.purchased`: a trader bought an evaluation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Discriminator, Field, Tag, ValidationInfo, model_validator

from schemas.base import (
    COMBINED_NAMES,
    MOST_ENTRIES,
    PERSONAL,
    AccountName,
    Email,
    Id,
    Key,
    LooseText,
    PartName,
    Password,
    StrictWire,
    Text,
    Wire,
    broken,
    lacking,
)
from schemas.countries import Country
from schemas.events.base import Event, Ids, is_kept
from schemas.risk import PostTradeRisk, PreTradeRisk


class NewUser(Wire):
    """A user to be made (Tradovate, create evaluation users). Without a password a strong one is generated."""

    name: Annotated[Text, PERSONAL]
    email: Annotated[Email, PERSONAL]
    first_name: Annotated[PartName, PERSONAL]
    last_name: Annotated[PartName, PERSONAL]
    password: Annotated[Password | None, PERSONAL] = None

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        if len(self.first_name) + len(self.last_name) > COMBINED_NAMES:
            raise broken("firstName", "and lastName together must be at most 60 characters")
        return self


class UserRef(Wire):
    """A user that exists at Tradovate. Other fields beside `userId` are ignored."""

    user_id: Id


def _user_kind(value: object) -> str:
    named = value.get("userId") if isinstance(value, dict) else getattr(value, "user_id", None)
    return "<new>" if named is None else "<known>"


User = Annotated[Annotated[NewUser, Tag("<new>")] | Annotated[UserRef, Tag("<known>")], Discriminator(_user_kind)]
"""Tags in angle brackets: they stand in the location of an error and are left out of its path."""


class ContactInfo(Wire):
    """Tradovate, update contact info. First and last name default to those of `user`."""

    first_name: Annotated[PartName | None, PERSONAL] = None
    last_name: Annotated[PartName | None, PERSONAL] = None
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

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.country == "US" and (self.state is None or not self.state.strip()):
            raise lacking("state", "is missing: Tradovate needs it when country is US")
        if len(self.first_name or "") + len(self.last_name or "") > COMBINED_NAMES:
            raise broken("firstName", "and lastName together must be at most 60 characters")
        if len(self.joint_first_name or "") + len(self.joint_last_name or "") > COMBINED_NAMES:
            raise broken("jointFirstName", "and jointLastName together must be at most 60 characters")
        return self


class Account(StrictWire):
    """An evaluation account to be made (Tradovate, create evaluation accounts). `initial_balance` in dollars."""

    template_account_id: Id
    initial_balance: Annotated[float, Field(ge=0)]
    name: AccountName | None = None
    pre_trade_risk: Annotated[
        tuple[PreTradeRisk, ...] | None, Field(strict=False, fail_fast=True, max_length=MOST_ENTRIES)
    ] = None
    post_trade_risk: PostTradeRisk | None = None


class TraderPurchased(Event):
    """One order: a user (if the trader has none yet), an account, contact data if given."""

    topic: ClassVar[str] = "trader.purchased"

    order_id: Key
    trader_id: Key
    user: User | None = None
    contact_info: ContactInfo | None = None
    account: Account | None = None
    product: Key | None = None

    @model_validator(mode="after")
    def _account_or_product(self, info: ValidationInfo) -> Self:
        if self.account is None and self.product is None:
            raise lacking("account", "is missing, and no product is named in its place")
        if self.account is not None and self.product is not None and not is_kept(info.context):
            raise broken("product", "must be left out when account is given")
        contact, user = self.contact_info, self.user
        if contact is not None and isinstance(user, NewUser):
            first, last = contact.first_name or user.first_name, contact.last_name or user.last_name
            if len(first) + len(last) > COMBINED_NAMES:
                raise broken("contactInfo.firstName", "and lastName together must be at most 60 characters")
        return self

    @property
    def ids(self) -> Ids:
        """The order, the trader, and the user if one is named."""
        return Ids(self.trader_id, self.order_id, self.user.user_id if isinstance(self.user, UserRef) else None)
