"""Faults: rules that make chosen calls go wrong in a chosen way, from a file or set while the sandbox runs."""

from __future__ import annotations

import random
import tomllib
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from worker.errors import SandboxError
from worker.sandbox.config import Refusal

__all__ = ["Action", "FaultError", "FaultFile", "FaultRule", "Faults", "RuleFault", "read_faults"]

Action = Literal[
    "delay",  # `seconds` before the effect, or after it with `when = "after"`
    "cut_before",  # the connection ends, nothing took effect
    "cut_after",  # the effect is made, the connection ends without an answer
    "late",  # answered by `answer` now, the effect comes `seconds` later
    "status_before",  # `status` with `body`, nothing took effect
    "status_after",  # the effect is made, the answer is `status` with `body`
    "garbage",  # an answer that makes no sense, in the form of `form`; `effect = false` makes none
    "short_results",  # the effect is made, the last `count` results are missing
    "long_results",  # the effect is made, `count` results too many
    "swapped_results",  # the effect is made, the results come backwards
    "same_results",  # the effect is made, every result has the ids of the first
    "poison",  # items that contain `contains` fail, in the form that `form` says
    "error_text",  # HTTP 200 with `body` as errorText, nothing took effect
    "ticket",  # a penalty ticket of `seconds`, with `captcha` or without
    "expire_tokens",  # every token ends before this call
    "close_sessions",  # every session is closed before this call
    "lockout",  # 429, and silence for `seconds` (the switch's, when 0)
    "hang",  # never answered; `effect = true` makes the effect first
]

Garbage = Literal[
    "not_json",
    "wrong_types",
    "empty",
    "truncated",
    "html",
    "null",
    "array",
    "object",  # {}
    "nulls",  # [null]
    "hollow",  # [{}]
    "error",  # {"error": "invalid_token"}
    "failure",  # {"failureReason": ..., "failureText": ...}
    "penalty",  # a p-time without a p-ticket
]


class RuleFault(Enum):
    """What is wrong with a fault rule, or with a file of them."""

    NO_OBJECT = "a fault is an object"
    NO_CALL = "a control call takes an object"
    NO_ACTION = "action should be specified"
    NO_LIST = "{name} should be a list"
    NO_FIELD = "{name} is no field of a fault"
    OTHER_VALUE = "{name} should be one of {form}"
    OTHER_FORM = "form of {name} should be one of {form}"
    OTHER_TYPE = "{name} should be {form}"
    NEGATIVE = "{name} should not be negative"
    NO_DATA = "{name} cannot be read: {form}"
    TOO_DEEP = "{name} cannot be read: it is nested too deeply"
    TOO_LONG = "{name} cannot be read: a number has too many digits"
    NO_FAULTS = "{name} should hold faults and switches"
    OTHER_PARTS = "{name} should hold a list named faults and a table named switches, and no more"


class FaultError(SandboxError):
    """A fault rule that cannot be read. `name`: of the field that is wrong, or of the file; `form`: what it takes."""

    def __init__(self, fault: RuleFault, name: str = "", form: str = "") -> None:
        super().__init__(fault.name, name, form)
        self.fault = fault
        self.name = name
        self.form = form

    @property
    def sentence(self) -> str:
        """For who wrote the rule."""
        return self.fault.value.format(name=self.name, form=self.form)


@dataclass(slots=True)
class FaultRule:
    """One rule: which calls (all conditions together), and what happens to them.

    `nth` counts matching calls from 1; `after` passes over the first ones; `times` ends the rule after so many (0 never
    ends it); `probability` is drawn from a generator of the rule's own, seeded with `seed`.
    """

    action: Action
    operation: str = "*"
    domain: Literal["live", "demo", "*"] = "*"
    contains: str = ""
    nth: int = 0
    after: int = 0
    times: int = 0
    probability: float = 1.0
    seed: int = 0
    seconds: float = 0.0
    when: Literal["before", "after"] = "before"
    status: int = 500
    body: str = ""
    answer: Literal["cut", "hang", "408", "500", "502", "503", "504"] = "cut"
    form: str = ""
    effect: bool | None = None
    atomic: bool | None = None
    captcha: bool = False
    count: int = 1
    id: str = ""
    matched: int = 0
    fired: int = 0
    dice: random.Random = field(default_factory=random.Random, repr=False)

    def meets(self, domain: str, path: str, wanted: bytes) -> bool:
        """Say whether this call is meant, and count it."""
        if self.times and self.fired >= self.times:
            return False
        if self.domain not in ("*", domain) or self.operation not in ("*", path):
            return False
        if self.contains and self.contains.casefold().encode() not in wanted:
            return False
        self.matched += 1
        if self.matched <= self.after or (self.nth and self.matched != self.nth):
            return False
        if self.probability < 1 and self.dice.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def public(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "dice"}


_NAMES = frozenset(item.name for item in fields(FaultRule)) - {"matched", "fired", "dice"}
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("nth", "after", "times", "seed", "status", "count"), ((int,), "a whole number")),
    **dict.fromkeys(("seconds", "probability"), ((int, float), "a number")),
    **dict.fromkeys(("effect", "atomic", "captcha"), ((bool,), "true or false")),
}
_CHOICES = {
    "action": get_args(Action),
    "domain": ("live", "demo", "*"),
    "when": ("before", "after"),
    "answer": ("cut", "hang", "408", "500", "502", "503", "504"),
}
_FORMS = {"garbage": get_args(Garbage), "poison": get_args(Refusal)}


def parse_rule(data: object) -> FaultRule:
    """Build a rule out of a JSON or TOML table.

    :raises FaultError: an unknown field, a wrong type, or a value outside its choices.
    """
    if not isinstance(data, dict):
        raise FaultError(RuleFault.NO_OBJECT)
    if "action" not in data:
        raise FaultError(RuleFault.NO_ACTION)
    values: dict[str, Any] = {name: _value(name, value) for name, value in data.items()}
    forms = _FORMS.get(values["action"])
    if forms and values.setdefault("form", forms[0]) not in forms:
        raise FaultError(RuleFault.OTHER_FORM, values["action"], ", ".join(forms))
    rule = FaultRule(**values)
    rule.operation = "*" if rule.operation == "*" else "/" + rule.operation.casefold().strip("/")
    rule.dice.seed(rule.seed)
    return rule


def _value(name: str, value: Any) -> Any:
    """Return one field's value, checked."""
    if name not in _NAMES:
        raise FaultError(RuleFault.NO_FIELD, name)
    if name in _CHOICES:
        if str(value) not in _CHOICES[name]:
            raise FaultError(RuleFault.OTHER_VALUE, name, ", ".join(_CHOICES[name]))
        return str(value)
    kinds, form = _KINDS.get(name, ((str,), "text"))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise FaultError(RuleFault.OTHER_TYPE, name, form)
    if isinstance(value, int | float) and value < 0:
        raise FaultError(RuleFault.NEGATIVE, name)
    return value


class Faults:
    """The rules in force, in the order in which they were set."""

    def __init__(self) -> None:
        self.rules: list[FaultRule] = []
        self._made = 0

    def add(self, data: object) -> FaultRule:
        rule = parse_rule(data)
        self._made += 1
        rule.id = rule.id or f"fault-{self._made}"
        self.rules.append(rule)
        return rule

    def clear(self, rule_id: str | None = None) -> int:
        """Take one rule away, or all, and return how many went."""
        kept = [] if rule_id is None else [rule for rule in self.rules if rule.id != rule_id]
        gone = len(self.rules) - len(kept)
        self.rules = kept
        return gone

    def match(self, domain: str, path: str, wanted: bytes) -> list[FaultRule]:
        """Return the rules that this call meets; `wanted` is its query and body."""
        if not self.rules:
            return []
        lowered = wanted.lower() if any(rule.contains for rule in self.rules) else b""
        return [rule for rule in self.rules if rule.meets(domain, path, lowered)]


@dataclass(frozen=True, slots=True)
class FaultFile:
    """What a faults file says: rules, and switches to set before the first call."""

    faults: list[dict[str, Any]]
    switches: dict[str, Any]


def read_faults(path: Path) -> FaultFile:
    """Read a faults file: TOML when its name ends so, JSON otherwise; a bare JSON list is a list of rules.

    :raises FaultError: the file is no TOML or JSON, or not of that form. A file that cannot be opened raises OSError.
    """
    raw = path.read_bytes()
    try:
        data: Any = _of_toml(raw.decode()) if path.suffix == ".toml" else orjson.loads(raw)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, orjson.JSONDecodeError) as error:
        raise FaultError(RuleFault.NO_DATA, path.name, str(error)) from None
    except RecursionError:
        raise FaultError(RuleFault.TOO_DEEP, path.name) from None
    except (ValueError, OverflowError):
        raise FaultError(RuleFault.TOO_LONG, path.name) from None
    if isinstance(data, list):
        data = {"faults": data}
    if not isinstance(data, dict):
        raise FaultError(RuleFault.NO_FAULTS, path.name)
    rules, switches = data.get("faults", []), data.get("switches", {})
    if set(data) - {"faults", "switches"} or not isinstance(rules, list) or not isinstance(switches, dict):
        raise FaultError(RuleFault.OTHER_PARTS, path.name)
    for rule in rules:
        parse_rule(rule)
    return FaultFile(rules, switches)


def _of_toml(text: str) -> dict[str, Any]:
    """What a TOML file says. Raises `ValueError`, `RecursionError`, and `OverflowError` for a whole number of more than
    64 bits: TOML has none, Python reads them, and cannot always write them into a sentence.
    """
    data = tomllib.loads(text)
    _check_sizes(data)
    return data


def _check_sizes(value: object) -> None:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_sizes(part)
    elif isinstance(value, int):
        value.to_bytes(8, signed=True)
