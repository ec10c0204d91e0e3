"""Help and completion of every command, however deep it stands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import typer

from worker.cli.application import COMMANDS, HELP_COLUMNS, MODULES
from worker.cli.main import main
from worker.kafka.topics import INPUT_TOPICS
from worker.ledger.browse import FlowState
from worker.partner.operations import ENDPOINTS

KNOWN = {"topic": INPUT_TOPICS, "state": tuple(FlowState), "operation": ENDPOINTS}
"""By the name of a parameter, the values that it may have."""


def tree() -> Iterator[tuple[list[str], Any]]:
    """Every command with its words."""
    for name in COMMANDS:
        command: Any = typer.main.get_command(import_module(f"worker.cli.{MODULES.get(name, name)}").app)
        yield [name], command
        for below, each in getattr(command, "commands", {}).items():
            yield [name, below], each


ALL = list(tree())


@pytest.mark.parametrize("words", [[], *(words for words, _ in ALL)], ids=" ".join)
def test_help_fits_a_hundred_columns_of_a_terminal(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal no line of help is wider than 100 columns, examples included, however wide the terminal is."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*words, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("Example:" in line for line in lines)
    assert [line for line in lines if len(line) > HELP_COLUMNS] == []


@pytest.mark.parametrize(("words", "command"), ALL, ids=lambda each: " ".join(each) if isinstance(each, list) else "")
def test_help_on_a_pipe_is_neither_cut_nor_wrapped(
    words: list[str], command: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every paragraph is a line; a group has the whole first sentence of each of its commands."""
    monkeypatch.setenv("COLUMNS", "40")
    assert main([*words, "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for paragraph in command.help.split("\n\n"):
        assert " ".join(paragraph.split()) in lines
    for name, each in getattr(command, "commands", {}).items():
        first = " ".join(each.help.partition("\n\n")[0].split())
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert first.startswith(line.removeprefix(name).strip())
        assert line.endswith(".")
        assert not line.endswith("..")


def test_what_has_known_values_is_completed() -> None:
    """TAB offers the states, topics and operations wherever a command takes one."""
    seen = set[str]()
    for words, command in ALL:
        for parameter in command.params:
            if (known := KNOWN.get(parameter.name)) is not None:
                context = typer.Context(command)
                offered = [item.value for item in parameter.shell_complete(context, "")]
                assert offered == list(known), f"{' '.join(words)}: {parameter.name}"
                seen.add(parameter.name)
    assert seen == set(KNOWN)
