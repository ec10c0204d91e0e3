"""Rules of the wire are declared once."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from schemas.base import Wire
from schemas.events import EVENTS
from schemas.readme import models, rules
from schemas.rules import Checked, ObjectRule, ReadBy, Rule, form_rule
from schemas.texts import PERSON_NAME
from schemas.times import DATE


def nodes(value: object) -> Iterator[dict[str, Any]]:
    """All parts of a core schema."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from nodes(inner)


def checks(core: object) -> Iterator[Callable[..., Any]]:
    """The functions that pydantic calls for it."""
    for node in nodes(core):
        function = node.get("function")
        if str(node.get("type")).startswith("function-") and isinstance(function, dict):
            yield function["function"]


@pytest.mark.parametrize("topic", EVENTS)
def test_no_check_is_undeclared(topic: str) -> None:
    """A function that pydantic calls for an event is one of a declared rule: none is in the program alone."""
    for function in checks(EVENTS[topic].__pydantic_core_schema__):
        declared = isinstance(getattr(function, "__self__", None), Checked | ReadBy)
        assert declared or function.__qualname__ == "Wire._keeps_its_rules", function


@pytest.mark.parametrize("topic", EVENTS)
def test_every_pattern_has_its_sentence(topic: str) -> None:
    """A text of a wrong form is refused in a sentence, never by showing the pattern."""
    patterns = {node["pattern"] for node in nodes(EVENTS[topic].__pydantic_core_schema__) if node.get("type") == "str"
                and "pattern" in node}  # fmt: skip
    assert {form_rule(pattern) for pattern in patterns}.isdisjoint({form_rule("unknown")})


def test_a_rule_says_how_or_why_not() -> None:
    """A rule without a form in JSON Schema and without a reason cannot be declared, nor one with both."""
    for schema, why in ((None, ""), ({}, "no reason")):
        with pytest.raises(ValueError, match="either a form"):
            Rule(says="nothing", schema=schema, why=why)


def test_two_rules_do_not_overwrite_each_other() -> None:
    """Two rules of one object with the same keywords are refused: one of them would be lost in the schema."""

    def check(_model: object, _context: object) -> None:
        return

    class Twice(Wire):
        rules = tuple(ObjectRule(says="never", schema={"not": {}}, check=check) for _ in range(2))

    with pytest.raises(TypeError, match="Twice has two rules"):
        Twice.model_json_schema()


def test_rules_are_found_wherever_they_are() -> None:
    """The models behind unions, arrays and null are found, and the rules of their fields too."""
    assert {model.__name__ for model in models()} >= {*(event.__name__ for event in EVENTS.values()), "UserRef",
                                                      "PreTradeRiskParameter", "Application"}  # fmt: skip
    found = {(where, rule.says[:20]) for where, rule in rules()}
    assert ("ContactInfo.mailingCountry", "must be a two-letter") in found
    assert ("TraderPassed.documents", "must be at most 700 ") in found
    assert ("PostTradeRisk.flattenTimestamp", "must be in the years") in found


def test_names_may_have_every_letter() -> None:
    """Every letter of every script may be in a name, and no other character of ASCII and Latin-1."""
    symbols = range(0x2070, 0x2C00)  # superscripts, enclosed and letter-like signs: no script
    for code in range(0x10000):
        letter = chr(code)
        if letter.isalpha() and code not in symbols and unicodedata.name(letter) != "VERTICAL TILDE":
            assert PERSON_NAME.fits(letter), hex(code)
    assert {chr(code) for code in range(0x100) if PERSON_NAME.fits(f"A{chr(code)}")} == {
        chr(code) for code in range(0x100) if chr(code).isalpha()
    } | set(" .'-")
    assert sys.maxunicode > 0x20BB7
    assert PERSON_NAME.fits("\U00020bb7")


def test_dates_are_the_days_that_exist() -> None:
    """The pattern of a date lets through every day of the calendar, and no day that is not in it."""
    for year in (*range(1, 10_000, 97), 4, 100, 400, 1600, 1900, 2000, 2024, 2100, 9999):
        day, last = date(year, 1, 1), date(year, 12, 31)
        real = {(day + timedelta(days=number)).isoformat() for number in range((last - day).days + 1)}
        shown = {
            text
            for month in range(14)
            for number in range(33)
            if DATE.fits(text := f"{year:04d}-{month:02d}-{number:02d}")
        }
        assert shown == real
    assert not DATE.fits("0000-01-01")
