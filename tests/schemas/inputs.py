"""Inputs with the verdict that intake and the schemas have to give: good, bad, or bad with a rule that no schema says.

Each begins as an example; one field of it is changed, added or taken out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.countries import ISO_CODES
from schemas.events import EVENTS, Account
from tests.schemas.cases import ABSENT, BAD, GOOD, ONLY_INTAKE, START, TOPICS

VALIDATORS: Final = ("jsonschema", "ajv")

PRODUCTS: Final = {"EVAL-50K": Account.model_validate(START["purchase"]["account"])}
"""The catalogue."""


@dataclass(frozen=True)
class Input:
    """The text of a value. `good`: intake accepts it. `accepted_by`: the validators that accept it all the same.

    `rule`: begins the sentence of the rule that they do not know.
    """

    topic: str
    name: str
    text: str
    good: bool
    accepted_by: tuple[str, ...] = ()
    rule: str = ""


def changed(body: Mapping[str, Any], path: str, value: object) -> dict[str, Any]:
    """`body` with the field at `path` (dots) set to `value`, or taken out."""
    first, _, rest = path.partition(".")
    copy = dict(body)
    if rest:
        copy[first] = changed(copy.get(first) or {}, rest, value)
    elif value is ABSENT:
        copy.pop(first, None)
    else:
        copy[first] = value
    return copy


def _example(start: str, path: str, value: object) -> tuple[str, str, str]:
    shown = "absent" if value is ABSENT else json.dumps(value, ensure_ascii=False)
    name = f"{start}: {path} = {shown[:60]}"
    return TOPICS[start], name, json.dumps(changed(START[start], path, value))


def inputs() -> Iterator[Input]:
    """All of them."""
    for topic, model in EVENTS.items():
        for number, body in enumerate(model.examples):
            yield Input(topic, f"{topic}: example {number}", json.dumps(body), good=True)
    for code in sorted(ISO_CODES):
        yield Input(*_example("passed", "application.country", code), good=True)
    for case in GOOD:
        yield Input(*_example(*case), good=True)
    for case in BAD:
        yield Input(*_example(*case), good=False)
    for start, path, value, rule in ONLY_INTAKE:
        yield Input(*_example(start, path, value), good=False, accepted_by=VALIDATORS, rule=rule)
    for text in ("null", "[]", '"text"', "5", "true"):
        yield Input("trader.left", f"the value is {text}", text, good=False)
    left = json.dumps(START["left"])[:-1]
    for name, end, rule, accepted_by in (
        ("half a surrogate pair", '"reason": "\\ud800"', "a text is valid Unicode", VALIDATORS),
        ("a number beyond doubles", '"unknown": 1e400', "a number is not larger than a double", VALIDATORS),
        ("nested too deeply", f'"unknown": {"[" * 1100}{"]" * 1100}', "the value is JSON, nested at most", ("ajv",)),
        ("data without an event", '"specversion": "1.0", "data": {}', "an object with `specversion`", VALIDATORS),
        ("an id of 2^63", f'"userId": {2**63}', "an id is at most", ("ajv",)),
    ):
        yield Input("trader.left", name, f"{left}, {end}}}", good=False, accepted_by=accepted_by, rule=rule)
