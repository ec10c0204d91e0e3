"""`trader.passed`: a trader passed the evaluation and gets a funded subaccount. It moves money."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from schemas.base import (
    COMBINED_NAMES,
    MAX_INT64,
    NATIONAL_ID,
    PERSONAL,
    US_TAX_ID,
    Date,
    Id,
    Key,
    LegalName,
    LooseText,
    Text,
    Wire,
    broken,
    lacking,
)
from schemas.countries import Country
from schemas.events.base import Event

MarginType = Literal["Hedger", "Speculator"]

MAX_FILE_BYTES: Final = 700 * 1024
"""All three files together, before base64: with base64's third on top they still fit a record of 1 MiB."""

_DATA_URI = re.compile(r"data:(?:application/pdf|text/plain|image/[A-Za-z0-9.+-]+);base64,[A-Za-z0-9+/]+={0,2}")


class Application(Wire):
    """A subaccount request by Tradovate's names (create partner subaccount request), without user and documents.

    `transfer_amount` in dollars; the master account must cover it.
    """

    risk_category_id: Id
    auto_liq_profile_id: Id | None = None
    trader_reason: LooseText | None = None
    margin_type: MarginType
    transfer_amount: Annotated[float, Field(ge=0)]
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
    birth_date: Annotated[Date, PERSONAL]

    @model_validator(mode="after")
    def _rules_of_the_page(self) -> Self:
        if len(self.first_name) + len(self.last_name) > COMBINED_NAMES:
            raise broken("firstName", "and lastName together must be at most 60 characters")
        # Each of the two has its rule for those who need it, and none for the others.
        if self.citizenship == "US":
            if self.tax_identifier is None:
                raise lacking("taxIdentifier", "is missing: US citizens need one of nine digits")
            if not re.fullmatch(US_TAX_ID, self.tax_identifier):
                raise broken("taxIdentifier", "must be exactly nine digits for a US citizen")
        else:
            if self.national_id is None:
                raise lacking("nationalId", "is missing: citizens of other countries than the US need one")
            if not re.fullmatch(NATIONAL_ID, self.national_id):
                raise broken("nationalId", "must be 2 to 64 letters and digits")
        return self


def _three(documents: tuple[object, ...]) -> tuple[object, ...]:
    if len(documents) not in (0, 3):
        rule = "must be all three documents (POA form, identity, address) or none"
        raise PydanticCustomError("rule_broken", "{rule}", {"rule": rule})
    return documents


def _data_uri(text: str) -> str:
    if len(text) > 3 * MAX_FILE_BYTES or not _DATA_URI.fullmatch(text) or (len(text) - text.index(",") - 1) % 4:
        rule = "must be a data URI in base64 of a PDF, a plain text or an image (data:application/pdf;base64,...)"
        raise PydanticCustomError("rule_broken", "{rule}", {"rule": rule})
    return text


def file_bytes(data_uri: str) -> int:
    """Size in bytes of a data URI's file, before base64."""
    encoded = len(data_uri) - data_uri.index(",") - 1
    return encoded // 4 * 3 - (2 if data_uri.endswith("==") else 1 if data_uri.endswith("=") else 0)


def _small(files: tuple[str, ...]) -> tuple[str, ...]:
    if sum(map(file_bytes, files)) > MAX_FILE_BYTES:
        rule = "must be at most 700 KiB together before base64; larger files are uploaded beforehand and given by id"
        raise PydanticCustomError("rule_broken", "{rule}", {"rule": rule})
    return files


DataUri = Annotated[str, AfterValidator(_data_uri)]
DocumentIds = Annotated[tuple[Id, ...], Field(strict=False, fail_fast=True), AfterValidator(_three)]
Files = Annotated[
    tuple[DataUri, ...], Field(strict=False, fail_fast=True), AfterValidator(_three), AfterValidator(_small)
]


def _documents_kind(value: object) -> str:
    texts = isinstance(value, list | tuple) and bool(value) and isinstance(value[0], str)
    return "<files>" if texts else "<ids>"


Documents = Annotated[
    Annotated[DocumentIds, Tag("<ids>")] | Annotated[Files, Tag("<files>")],
    Discriminator(_documents_kind),
    WithJsonSchema(
        {
            "type": "array",
            "description": "POA form, identity, address: all three or none; files are 700 KiB together before base64",
            "maxItems": 3,
            "anyOf": [
                {"items": {"type": "integer", "exclusiveMinimum": 0, "maximum": MAX_INT64}},
                {"items": {"type": "string", "pattern": f"^{_DATA_URI.pattern}$"}},
            ],
        }
    ),
]
"""Three ids, or three data URIs, in the order POA form, identity, address; an empty array is none."""


class TraderPassed(Event):
    """A subaccount for a trader. `order_id` names one request for ever, like an order of a purchase."""

    topic: ClassVar[str] = "trader.passed"

    trader_id: Key | None = None
    user_id: Id | None = None
    order_id: Key | None = None
    application: Application
    documents: Annotated[Documents | None, PERSONAL] = None

    @model_validator(mode="after")
    def _names_the_trader(self) -> Self:
        if self.trader_id is None and self.user_id is None:
            raise lacking("traderId", "is missing, and userId is not given in its place")
        return self

    @property
    def document_ids(self) -> tuple[int, ...] | None:
        """The three ids, if documents were given as ids."""
        return tuple(item for item in self.documents or () if isinstance(item, int)) or None

    @property
    def files(self) -> tuple[str, ...] | None:
        """The three data URIs, if documents were given as files."""
        return tuple(item for item in self.documents or () if isinstance(item, str)) or None
