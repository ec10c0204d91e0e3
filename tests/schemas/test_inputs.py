"""Intake, Python's jsonschema and Ajv give one verdict on each input."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.events import TOPICS
from schemas.export import event_schema, export
from schemas.readme import unsaid
from schemas.records import RECORD_RULES
from tests.schemas.inputs import PRODUCTS, Input, inputs
from tests.support.node import run_script
from worker.intake.parse import CODES, Parsed, RawRecord, parse

INPUTS = tuple(inputs())


def disagreements(accepts: Callable[[Input], bool], expected: Callable[[Input], bool]) -> list[str]:
    """The names of the inputs with another verdict than expected, and that verdict."""
    return [
        f"{each.topic}: {each.name} is {'accepted' if accepts(each) else 'refused'}"
        for each in INPUTS
        if accepts(each) is not expected(each)
    ]


def test_intake_decides_as_the_table_says() -> None:
    """Intake accepts each good input and refuses each bad one."""

    @cache
    def accepts(each: Input) -> bool:
        record = RawRecord(each.topic, 0, 0, 0, None, each.text.encode())
        return isinstance(parse(record, PRODUCTS), Parsed)

    assert disagreements(accepts, lambda each: each.good) == []


def test_jsonschema_agrees_with_intake() -> None:
    """Python's jsonschema decides as intake does, but for the rules that the table in schemas/README.md lists."""
    validators = {topic: Draft202012Validator(event_schema(topic)) for topic in TOPICS}

    @cache
    def accepts(each: Input) -> bool:
        try:
            value = json.loads(each.text)
        except RecursionError:
            return False
        return validators[each.topic].is_valid(value)

    assert disagreements(accepts, lambda each: each.good or "jsonschema" in each.accepted_by) == []


@pytest.mark.usefixtures("node")
def test_ajv_agrees_with_intake(tmp_path: Path) -> None:
    """Ajv, with its default options, takes every schema and example without a warning, and decides as intake does."""
    export(tmp_path / "export")
    workplace = tmp_path / "work"
    workplace.mkdir()
    published = [
        (path.name.removesuffix(".schema.json"), json.dumps(example))
        for path in (tmp_path / "export").glob("*.json")
        for example in json.loads(path.read_bytes())["examples"]
    ]
    pairs = json.dumps([(each.topic, each.text) for each in INPUTS] + published)
    said: dict[str, Any] = run_script("validate.mjs", str(tmp_path / "export"), workplace=workplace, stdin=pairs)
    assert said["warnings"] == []
    assert set(said["errors"][len(INPUTS) :]) == {None}
    errors = dict(zip(INPUTS, said["errors"], strict=False))
    assert disagreements(lambda each: errors[each] is None, lambda each: each.good or "ajv" in each.accepted_by) == []


def test_every_rule_that_no_schema_says_is_broken_by_an_input() -> None:
    """Each rule in the table of schemas/README.md has an input that shows it; what only headers break has none."""
    headers = {"no_value", "not_utf8", "bad_header", "bad_id", "id_reused"}
    about_headers = {rule for code in headers for rule in RECORD_RULES[code]}
    shown = [each.rule for each in INPUTS if each.rule]
    lacking = [
        rule.says
        for rule, places in unsaid().items()
        if rule not in about_headers
        for where in (places or [""])
        if not any(f"{where}: {rule.says}".startswith(each) or rule.says.startswith(each) for each in shown)
    ]
    assert lacking == []


def test_every_dead_letter_code_is_explained() -> None:
    """A code of a dead letter is a rule of the table, or says only what every schema says."""
    said_by_schemas = {"not_an_object", "unknown_field"}
    no_rule = {"unknown_topic", "unreadable"}
    assert set(CODES) - said_by_schemas - no_rule == set(RECORD_RULES)
