"""The README's table of settings is the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time
from enum import Enum
from typing import Any

from pydantic import SecretStr

from tests.support.processes import ROOT
from worker.settings import RunSettings

NOT_A_VALUE = {"", "none", "from the environment"}
"""How the table says that a setting has no default of its own."""


def rows() -> Iterator[list[str]]:
    table = (ROOT / "README.md").read_text().split("| setting | default |", 1)[1].split("\n\n", 1)[0]
    for line in table.splitlines()[2:]:
        yield re.split(r"\s*\|\s*", line)[1:-1]


def in_table() -> dict[str, str]:
    """Each setting of the first column, and its default as it is written."""
    found: dict[str, str] = {}
    for names, defaults, *_ in rows():
        settings = re.findall(r"`([A-Z_]+)`", names)
        values = defaults.split(", ")
        found |= zip(settings, values if len(values) == len(settings) else values * len(settings), strict=True)
    return found


def written(value: Any) -> str:
    """A default as an operator would type it."""
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off"
        case SecretStr():
            return value.get_secret_value()
        case time():
            return value.strftime("%H:%M")
        case Enum():
            return str(value.value)
        case _:
            return str(value)


def test_every_setting_is_in_the_readme() -> None:
    """No setting is missing in the table, and none is there that the worker does not have."""
    known = {name.upper() for name in RunSettings.model_fields}
    beside = {name for row in rows() for name in re.findall(r"`([A-Z_]+)`", row[2])}  # KAFKA_SASL_MECHANISM, ...
    assert known - beside - set(in_table()) == set()
    assert set(in_table()) - known == set()


def test_the_defaults_are_those_of_the_readme() -> None:
    """What is not set has the default that the table gives; what is required has none."""
    table = in_table()
    defaults = {name.upper(): each for name, each in RunSettings.model_fields.items()}
    wrong = {
        name: shown
        for name, shown in table.items()
        if (shown == "required") is not defaults[name].is_required()
        or (shown != "required" and shown.strip("`") != written(defaults[name].default) and shown not in NOT_A_VALUE)
        or (shown in NOT_A_VALUE and written(defaults[name].default))
    }
    assert wrong == {}
    inside = {each for name, each in defaults.items() if name not in table}
    assert [each for each in inside if each.default is not None] == []
