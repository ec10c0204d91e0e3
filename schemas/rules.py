"""How a rule of the wire is declared: once, with its check, its sentence, and its form in JSON Schema.

A rule that JSON Schema cannot express has no form, but the reason why: its sentence stands in the description of the
schema and in the table of `schemas/README.md`. Every check of an input event is one of the classes here (a test looks
for others), so no rule is only in the program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_snake
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Schema = dict[str, Any]
"""A JSON Schema, or some keywords of one."""

NOT_HERE: Final = "Not in this schema:"
"""What a description says before a rule that only the worker checks."""

KEPT: Final = {"kept": True}
"""Validation context of an event that comes back from the ledger: rules about what a shop may send are not checked."""


def is_kept(context: object) -> bool:
    """Whether validation runs on an event that comes back from the ledger."""
    return context == KEPT


def broken(field: str, rule: str) -> PydanticCustomError:
    """A rule that `field` (camelCase, seen from the model that raises) breaks: the rest of the sentence is `rule`."""
    return PydanticCustomError("rule_broken", "{field} {rule}", {"field": field, "rule": rule})


def lacking(field: str, rule: str = "is missing") -> PydanticCustomError:
    """A field that is needed here and not given."""
    return PydanticCustomError("missing_field", "{field} {rule}", {"field": field, "rule": rule})


def mistyped(rule: str) -> PydanticCustomError:
    """A value of the wrong JSON type, found by a validator of ours."""
    return PydanticCustomError("wrong_type", "{field} {rule}", {"field": "", "rule": rule})


def described(schema: MutableMapping[str, Any], sentence: str) -> None:
    """Adds a sentence to the description of a schema."""
    schema["description"] = "\n\n".join(filter(None, (schema.get("description"), sentence)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """What must hold. `schema`: the keywords that say it; without them, `why` JSON Schema cannot."""

    says: str
    schema: Mapping[str, Any] | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if (self.schema is None) is (self.why == ""):
            raise ValueError(f"A rule has either a form in JSON Schema or the reason why it has none: {self.says}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checked(Rule):
    """An annotation of a type: `holds` of the value. `says` goes on where the name of the field ends: `must be ...`."""

    holds: Callable[[Any], bool]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        schema = handler(core)
        if self.schema is None:
            described(schema, f"{NOT_HERE} it {self.says}.")
        return {**schema, **(self.schema or {})}

    def check(self, value: Any) -> Any:
        """`value`, or the error that says what is wrong with it."""
        if not self.holds(value):
            raise PydanticCustomError("rule_broken", "{rule}", {"rule": self.says})
        return value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadBy:
    """An annotation of a type that JSON does not have: `read` makes it of what JSON has, or raises.

    `schema` says all that is accepted, but for `more`: what only `read` can tell.
    """

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    more: tuple[Rule, ...] = ()

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.make, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        schema = dict(self.schema)
        for rule in self.more:
            described(schema, f"{NOT_HERE} it {rule.says}.")
        return schema

    def make(self, value: Any) -> Any:
        """What `read` makes of `value`."""
        return self.read(value)


FORMS: Final[dict[str, str]] = {}
"""Pattern -> its sentence, of all forms."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    r"""An annotation of a text: it has the form of `pattern`, from `^` to `$`.

    Patterns are read by Rust (intake), Python and ECMAScript (with and without the flag `u`), and must mean the same to
    all. So there is no `\s`, `\w` or `\p`, and no look-around. `one_line`: the pattern allows no line break. Python's
    `$` matches before one at the end, so the schema excludes it a second time.
    """

    pattern: str
    says: str
    one_line: bool = True

    def __post_init__(self) -> None:
        FORMS[self.pattern] = self.says

    @property
    def schema(self) -> Schema:
        """The form in JSON Schema."""
        return {"type": "string", "pattern": self.pattern, **({"not": {"pattern": r"\n"}} if self.one_line else {})}

    def fits(self, text: str) -> bool:
        """Whether `text` has the form."""
        return re.fullmatch(self.pattern, text) is not None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = handler(source)
        return {**schema, "pattern": self.pattern}

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        return {**handler(core), **self.schema}


def form_rule(pattern: str) -> str:
    """The sentence of the form that has this pattern."""
    return FORMS.get(pattern, "has a wrong form")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ObjectRule(Rule):
    """A rule about several fields of an object. `says` is a whole sentence without its period.

    `check(model, context)` raises `broken` or `lacking`; `context` is the validation context (`is_kept`).
    """

    check: Callable[[Any, object], None]


def _is_given(model: object, attribute: str) -> bool:
    """Whether a field has a value: null and an empty array are none."""
    value = getattr(model, attribute)
    return value is not None and not (isinstance(value, tuple) and not value)


def at_least_one(**types: str) -> ObjectRule:
    """One of these fields (wire name = JSON type) has to be given, or several. An array stands last."""
    *others, last = types
    attributes = [to_snake(name) for name in types]
    more = " nor ".join([*others[1:], last])
    rest = f"neither {more} is" if len(others) > 1 else f"{more} is not"

    def check(model: object, _context: object) -> None:
        if not any(_is_given(model, attribute) for attribute in attributes):
            raise lacking(others[0], f"is missing, and {rest} given in its place")

    return ObjectRule(
        says=f"At least one of {', '.join(others)} and {last} is needed; null is as good as absent",
        schema={"if": _all_absent(others), "then": _given(last, types[last])},
        check=check,
    )


def anything(**types: str) -> ObjectRule:
    """An object with these fields (wire name = JSON type) has to give one of them; none of them is an array."""
    *others, last = types
    attributes = [to_snake(name) for name in types]

    def check(model: object, _context: object) -> None:
        if not any(_is_given(model, attribute) for attribute in attributes):
            raise broken("", "must set at least one field")

    return ObjectRule(
        says="At least one field is needed; null is as good as absent",
        schema={"if": _all_absent(others), "then": _given(last, types[last])},
        check=check,
    )


def exactly_one(**types: str) -> ObjectRule:
    """Exactly one of two fields (wire name = JSON type) has to be given; what the ledger keeps may have both."""
    first, second = types
    one, other = to_snake(first), to_snake(second)

    def check(model: object, context: object) -> None:
        has_one, has_other = _is_given(model, one), _is_given(model, other)
        if not has_one and not has_other:
            raise lacking(first, f"is missing, and {second} is not given in its place")
        if has_one and has_other and not is_kept(context):
            raise broken(second, f"must be left out when {first} is given")

    return ObjectRule(
        says=f"Exactly one of {first} and {second} is needed; null is as good as absent",
        schema={"if": _all_absent([first]), "then": _given(second, types[second]), "else": _all_absent([second])},
        check=check,
    )


def together(first: str, last: str, most: int) -> ObjectRule:
    """Two names have at most so many characters together."""
    one, other = to_snake(first), to_snake(last)

    def check(model: object, _context: object) -> None:
        if len(getattr(model, one) or "") + len(getattr(model, other) or "") > most:
            raise broken(first, f"and {last} together must be at most {most} characters")

    return ObjectRule(
        says=f"{first} and {last} together must be at most {most} characters",
        why="JSON Schema does not add lengths",
        check=check,
    )


def _all_absent(names: list[str]) -> Schema:
    return {"properties": {name: {"type": "null"} for name in names}}


def _given(name: str, kind: str) -> Schema:
    return {"required": [name], "properties": {name: {"type": kind, **({"minItems": 1} if kind == "array" else {})}}}
