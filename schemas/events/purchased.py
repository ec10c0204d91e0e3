"""`trader.purchased`: a trader bought an evaluation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import Discriminator, Field, Tag

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
from schemas.events.base import Event, Examples, Ids
from schemas.risk_limits import PostTradeRisk, PreTradeRisk
from schemas.rules import ObjectRule, exactly_one, together
from schemas.texts import FILLED, JointName


class NewUser(Wire):
    """A user to be made (Tradovate, create evaluation users)."""

    user_id: None = None
    """Absent or null: an object with a userId is a user that exists."""
    name: Annotated[Text, PERSONAL]
    """The name that the user signs in with."""
    email: Annotated[Email, PERSONAL]
    """The e-mail address."""
    first_name: Annotated[PartName, PERSONAL]
    """The first name."""
    last_name: Annotated[PartName, PERSONAL]
    """The last name."""
    password: Annotated[Password | None, PERSONAL] = None
    """At least eight characters. Without it a strong one is generated, which nobody gets to know."""

    rules = (together("firstName", "lastName", COMBINED_NAMES),)


class UserRef(Wire):
    """A user that exists at Tradovate. Other fields beside userId are ignored."""

    user_id: Id
    """The user at Tradovate."""


def _user_kind(value: object) -> str:
    named = value.get("userId") if isinstance(value, dict) else getattr(value, "user_id", None)
    return "<new>" if named is None else "<known>"


User = Annotated[Annotated[NewUser, Tag("<new>")] | Annotated[UserRef, Tag("<known>")], Discriminator(_user_kind)]
"""Tags in angle brackets: they stand in the location of an error and are left out of its path."""


def _needs_state(contact: ContactInfo, _context: object) -> None:
    if contact.country == "US" and not FILLED.fits(contact.state or ""):
        raise lacking("state", "is missing: Tradovate needs it when country is US")


_STATE: Final = ObjectRule(
    says="state is needed when country is US",
    schema={
        "if": {"properties": {"country": {"const": "US"}}},
        "then": {"required": ["state"], "properties": {"state": FILLED.schema}},
    },
    check=_needs_state,
)


class ContactInfo(Wire):
    """A user's contact data (Tradovate, update contact info)."""

    first_name: Annotated[PartName | None, PERSONAL] = None
    """The first name; by default the user's."""
    last_name: Annotated[PartName | None, PERSONAL] = None
    """The last name; by default the user's."""
    street_address1: Annotated[Text, PERSONAL]
    """Street and number."""
    street_address2: Annotated[LooseText | None, PERSONAL] = None
    """What else belongs to the address."""
    city: Annotated[Text, PERSONAL]
    """The city."""
    state: LooseText | None = None
    """The state or province."""
    post_code: Annotated[LooseText | None, PERSONAL] = None
    """The postal code."""
    country: Country
    phone: Annotated[Text, PERSONAL]
    """The phone number."""
    mailing_is_different: bool | None = None
    """Whether the mailing address is another one."""
    mailing_street_address1: Annotated[LooseText | None, PERSONAL] = None
    """Mailing address: street and number."""
    mailing_street_address2: Annotated[LooseText | None, PERSONAL] = None
    """Mailing address: what else belongs to it."""
    mailing_city: Annotated[LooseText | None, PERSONAL] = None
    """Mailing address: the city."""
    mailing_state: LooseText | None = None
    """Mailing address: the state or province."""
    mailing_post_code: Annotated[LooseText | None, PERSONAL] = None
    """Mailing address: the postal code."""
    mailing_country: Country | None = None
    """Mailing address: the country."""
    joint_first_name: Annotated[JointName | None, PERSONAL] = None
    """The first name of a joint owner."""
    joint_last_name: Annotated[JointName | None, PERSONAL] = None
    """The last name of a joint owner."""

    rules = (
        _STATE,
        together("firstName", "lastName", COMBINED_NAMES),
        together("jointFirstName", "jointLastName", COMBINED_NAMES),
    )


class Account(StrictWire):
    """An evaluation account to be made (Tradovate, create evaluation accounts)."""

    template_account_id: Id
    """The account at Tradovate that the new one is a copy of."""
    initial_balance: Annotated[float, Field(ge=0)]
    """US dollars."""
    name: AccountName | None = None
    """Capital letters followed by digits, at most 64 characters; by default made from the orderId."""
    pre_trade_risk: Annotated[
        tuple[PreTradeRisk, ...] | None, Field(strict=False, fail_fast=True, max_length=MOST_ENTRIES)
    ] = None
    """Position limits, at most 1000; usually those of the template are enough."""
    post_trade_risk: PostTradeRisk | None = None
    """Limits on loss, drawdown and profit; the template has none."""


def _names_fit(purchase: TraderPurchased, _context: object) -> None:
    contact, user = purchase.contact_info, purchase.user
    if contact is not None and isinstance(user, NewUser):
        first, last = contact.first_name or user.first_name, contact.last_name or user.last_name
        if len(first) + len(last) > COMBINED_NAMES:
            raise broken("contactInfo.firstName", f"and lastName together must be at most {COMBINED_NAMES} characters")


_CONTACT_NAMES: Final = ObjectRule(
    says=f"a name in contactInfo and the user's other name together must be at most {COMBINED_NAMES} characters",
    why="JSON Schema does not add lengths",
    check=_names_fit,
)

_ACCOUNT: Final = {
    "templateAccountId": 11,
    "initialBalance": 50000,
    "postTradeRisk": {"dailyLossAutoLiq": 1000, "trailingMaxDrawdown": 2500},
}


class TraderPurchased(Event):
    """A trader bought an evaluation: one order is one account, with a user if the trader has none yet."""

    topic: ClassVar[str] = "trader.purchased"
    examples: ClassVar[Examples] = (
        {
            "eventId": "e-1",
            "orderId": "100234",
            "traderId": "cust-77",
            "user": {
                "name": "jane77",
                "email": "jane@example.com",
                "firstName": "Jane",
                "lastName": "Doe",
            },
            "contactInfo": {
                "streetAddress1": "1 Main St",
                "city": "Austin",
                "state": "TX",
                "postCode": "78701",
                "country": "US",
                "phone": "+15125550100",
            },
            "account": _ACCOUNT,
        },
        {
            "eventId": "e-2",
            "orderId": "100235",
            "traderId": "cust-78",
            "user": {"userId": 29721},
            "product": "EVAL-50K",
        },
        {"eventId": "e-3", "orderId": "100236", "traderId": "cust-77", "account": {**_ACCOUNT, "name": "MYEVAL7"}},
    )

    order_id: Key
    """The shop's id of the order. It names one account for ever."""
    trader_id: Key
    """The shop's id of the trader."""
    user: User | None = None
    """A new user, or one that exists; may be left out when the trader has one already."""
    contact_info: ContactInfo | None = None
    """Contact data of the user."""
    account: Account | None = None
    """The account to be made."""
    product: Key | None = None
    """A product of the worker's catalogue, which says what account is to be made."""

    rules = (exactly_one(account="object", product="string"), _CONTACT_NAMES)

    @property
    def ids(self) -> Ids:
        """The order, the trader, and the user if one is named."""
        return Ids(self.trader_id, self.order_id, self.user.user_id if isinstance(self.user, UserRef) else None)
