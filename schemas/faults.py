"""What is wrong with a body, as a stable code and one readable sentence that never repeats a value of the body."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.events.purchased import Account
from schemas.risk_limits import PostTradeRisk, PreTradeRisk, PreTradeRiskParameter
from schemas.rules import form_rule

_TYPES: Final[Mapping[str, str]] = {
    "string_type": "must be a string",
    "string_unicode": "must be a string of valid Unicode",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "tuple_type": "must be an array",
    "list_type": "must be an array",
}

_LIMITS: Final[Mapping[str, str]] = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be one of {expected}",
    "finite_number": "must be a finite number",
    "missing": "is missing",
}

_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_MODELS: tuple[type[BaseModel], ...] = (Account, PreTradeRisk, PreTradeRiskParameter, PostTradeRisk)
_KNOWN: Final = sorted({field.alias or name for model in _MODELS for name, field in model.model_fields.items()})


@dataclass(frozen=True, slots=True)
class Fault:
    """`code`: missing_field, wrong_type, unknown_field or rule_broken. `path`: camelCase, such as `user.firstName`."""

    code: str
    path: str
    rule: str

    @property
    def sentence(self) -> str:
        """`user.firstName is missing.`"""
        return f"{self.path} {self.rule}{'' if self.rule.endswith('?') else '.'}"


def fault(error: ValidationError) -> Fault:
    """The first thing that is wrong."""
    return _fault(error.errors(include_url=False, include_input=False)[0])


def _fault(detail: ErrorDetails) -> Fault:
    kind, loc = detail["type"], detail["loc"]
    context: Mapping[str, Any] = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(loc)
    if kind in ("missing_field", "wrong_type", "rule_broken"):
        field = context.get("field")
        return Fault(kind, _path((*loc, field) if field else loc), str(context.get("rule")))
    if kind in _TYPES:
        return Fault("wrong_type", _path(loc), _TYPES[kind])
    if kind == "string_pattern_mismatch":
        return Fault("rule_broken", _path(loc), form_rule(str(context.get("pattern"))))
    if kind in _LIMITS:
        code = "missing_field" if kind == "missing" else "rule_broken"
        return Fault(code, _path(loc), _LIMITS[kind].format_map(context))
    return Fault("rule_broken", _path(loc), "is not valid")


def _path(loc: tuple[Any, ...]) -> str:
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("<"):
            path += f".{part}" if path else part
    return path or "The event"


def _unknown(loc: tuple[Any, ...]) -> Fault:
    """The name of an unknown field is the sender's own text: it is repeated only if it looks like a field's name."""
    name = str(loc[-1])
    if not _FIELD_NAME.fullmatch(name):
        return Fault("unknown_field", _path(loc[:-1]), "has an unknown field")
    near = difflib.get_close_matches(name, _KNOWN, n=1)
    hint = f"; did you mean {near[0]}?" if near and near[0] != name else ""
    return Fault("unknown_field", _path(loc), f"is not a known field{hint}")
