"""`trader.passed`: a trader passed the evaluation and gets a funded subaccount. It moves money."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.base import COMBINED_NAMES, PERSONAL, Date, Id, Key, LegalName, LooseText, Text, Wire, broken, lacking
from schemas.countries import Country
from schemas.events.base import Event, Examples
from schemas.events.documents import Documents
from schemas.rules import ObjectRule, at_least_one, together
from schemas.texts import NATIONAL_ID, US_TAX_ID

MarginType = TypeAliasType("MarginType", Literal["Hedger", "Speculator"])


def _has_tax_number(application: Application, _context: object) -> None:
    # Each of the two has its rule for those who need it, and none for the others.
    if application.citizenship == "US":
        if application.tax_identifier is None:
            raise lacking("taxIdentifier", "is missing: US citizens need one of nine digits")
        if not US_TAX_ID.fits(application.tax_identifier):
            raise broken("taxIdentifier", US_TAX_ID.says)
    else:
        if application.national_id is None:
            raise lacking("nationalId", "is missing: citizens of other countries than the US need one")
        if not NATIONAL_ID.fits(application.national_id):
            raise broken("nationalId", NATIONAL_ID.says)


_TAX_NUMBER: Final = ObjectRule(
    says="US citizens need a taxIdentifier of nine digits, all others a nationalId of 2 to 64 letters and digits",
    schema={
        "if": {"properties": {"citizenship": {"const": "US"}}},
        "then": {"required": ["taxIdentifier"], "properties": {"taxIdentifier": US_TAX_ID.schema}},
        "else": {"required": ["nationalId"], "properties": {"nationalId": NATIONAL_ID.schema}},
    },
    check=_has_tax_number,
)


class Application(Wire):
    """A subaccount request by Tradovate's names (create partner subaccount request), without user and documents."""

    risk_category_id: Id
    """The risk category at Tradovate."""
    auto_liq_profile_id: Id | None = None
    """The auto-liquidation profile at Tradovate; by default the organization's."""
    trader_reason: LooseText | None = None
    """Why the trader gets the account: a note for Tradovate."""
    margin_type: MarginType
    transfer_amount: Annotated[float, Field(ge=0)]
    """US dollars; the master account must cover it."""
    authorized_individual: bool
    """Whether the trader is authorized to act for the account."""
    first_name: Annotated[LegalName, PERSONAL]
    """The legal first name: letters, spaces, hyphens, apostrophes and periods."""
    last_name: Annotated[LegalName, PERSONAL]
    """The legal last name: letters, spaces, hyphens, apostrophes and periods."""
    country: Country
    state: Text
    """The state or province."""
    street_address1: Annotated[Text, PERSONAL]
    """Street and number."""
    street_address2: Annotated[LooseText | None, PERSONAL] = None
    """What else belongs to the address."""
    city: Annotated[Text, PERSONAL]
    """The city."""
    zip_code: Annotated[Text, PERSONAL]
    """The postal code."""
    phone: Annotated[Text, PERSONAL]
    """The phone number."""
    citizenship: Country
    tax_identifier: Annotated[LooseText | None, PERSONAL] = None
    """The US tax number: nine digits for US citizens."""
    national_id: Annotated[LooseText | None, PERSONAL] = None
    """The number of a national identity document, for citizens of other countries."""
    birth_date: Annotated[Date, PERSONAL]
    """The day of birth: YYYY-MM-DD."""

    rules = (together("firstName", "lastName", COMBINED_NAMES), _TAX_NUMBER)


_APPLICATION: Final = {
    "riskCategoryId": 5,
    "marginType": "Speculator",
    "transferAmount": 2500,
    "authorizedIndividual": True,
    "firstName": "Jane",
    "lastName": "Doe",
    "country": "US",
    "state": "TX",
    "streetAddress1": "1 Main St",
    "city": "Austin",
    "zipCode": "78701",
    "phone": "+15125550100",
    "citizenship": "US",
    "taxIdentifier": "123456789",
    "birthDate": "1990-04-01",
}


class TraderPassed(Event):
    """A trader passed and gets a funded subaccount (Tradovate, create partner subaccount request). It moves money."""

    topic: ClassVar[str] = "trader.passed"
    examples: ClassVar[Examples] = (
        {
            "eventId": "e-8",
            "traderId": "cust-77",
            "orderId": "300001",
            "application": _APPLICATION,
            "documents": [7001, 7002, 7003],
        },
        {
            "eventId": "e-9",
            "userId": 29721,
            "application": {
                **{name: value for name, value in _APPLICATION.items() if name != "taxIdentifier"},
                "country": "DE",
                "state": "Berlin",
                "citizenship": "DE",
                "nationalId": "T220001293",
            },
            "documents": [
                "data:application/pdf;base64,JVBERi0xLjQK",
                "data:image/png;base64,iVBORw0KGgo=",
                "data:text/plain;base64,MSBNYWluIFN0Cg==",
            ],
        },
    )

    trader_id: Key | None = None
    """The shop's id of the trader."""
    user_id: Id | None = None
    """The trader's user at Tradovate."""
    order_id: Key | None = None
    """The shop's id of this request. It names one request for ever, like the order of a purchase."""
    application: Application
    documents: Annotated[Documents | None, PERSONAL] = None
    """POA form, identity, address, in this order: three ids, or three files as data URIs; or none at all."""

    rules = (at_least_one(traderId="string", userId="integer"),)

    @property
    def document_ids(self) -> tuple[int, ...] | None:
        """The three ids, if documents were given as ids."""
        return tuple(item for item in self.documents or () if isinstance(item, int)) or None

    @property
    def files(self) -> tuple[str, ...] | None:
        """The three data URIs, if documents were given as files."""
        return tuple(item for item in self.documents or () if isinstance(item, str)) or None
