"""The ground all wire models stand on: strict JSON types, rules that are declared, and numbers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from schemas.rules import NOT_HERE, ObjectRule, Schema, broken, described, lacking, mistyped
from schemas.texts import (
    COMBINED_NAMES,
    AccountName,
    Email,
    Key,
    LegalName,
    LooseText,
    PartName,
    Password,
    Text,
)
from schemas.times import Date, Time, utc_text

__all__ = [
    "COMBINED_NAMES",
    "MAX_INT64",
    "MOST_ENTRIES",
    "PERSONAL",
    "PERSONAL_MARK",
    "AccountName",
    "Count",
    "Date",
    "Email",
    "Id",
    "Key",
    "LegalName",
    "LooseText",
    "PartName",
    "Password",
    "StrictWire",
    "Text",
    "Time",
    "Wire",
    "broken",
    "lacking",
    "mistyped",
    "utc_text",
]

MAX_INT64: Final = 2**63 - 1
"""Tradovate's ids are int64 (OpenAPI)."""


class Wire(BaseModel):
    """A frozen model with JSON-strict types and camelCase names; unknown fields are ignored.

    Validation errors and `repr` never show personal values: errors hide their input, personal fields their text.
    `rules`: what several fields have to keep together, declared for the check and the JSON Schema alike.
    """

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[ObjectRule, ...]] = ()

    @model_validator(mode="after")
    def _keeps_its_rules(self, info: ValidationInfo) -> Self:
        for rule in self.rules:
            rule.check(self, info.context)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> Schema:
        schema = handler(core_schema)
        body = handler.resolve_ref_schema(schema)
        for rule in cls.rules:
            described(body, f"{rule.says}." if rule.schema is not None else f"{NOT_HERE} {rule.says}.")
            taken = set(body) & set(rule.schema or ())
            if taken:
                raise TypeError(f"{cls.__name__} has two rules with the keywords {taken}")
            body.update(rule.schema or {})
        return schema


class StrictWire(Wire):
    """As `Wire`, but an unknown field is an error: a misspelt limit must not pass."""

    model_config = ConfigDict(extra="forbid")


PERSONAL_MARK: Final = {"$comment": "personal"}
"""How the JSON Schema of a personal field says so: a keyword of our own would stop Ajv, which is strict by default."""

PERSONAL: Final[Any] = Field(repr=False, json_schema_extra=dict(PERSONAL_MARK))
"""Marks a field whose value may never reach a log, a metric, a trace, an outcome or an error."""

Id = Annotated[int, Field(gt=0, le=MAX_INT64)]
"""A Tradovate id: a positive int64."""

Count = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
"""Tradovate's `int`: 32 bits."""

MOST_ENTRIES: Final = 1000
"""Entries of one array in an event. No trader comes near it; without an end one record could hold up its neighbours
for a second."""
