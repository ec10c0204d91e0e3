"""The tests themselves follow the project's rules."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ON_BOTH

TESTS = Path(__file__).parents[1]
WAITING = TESTS / "support" / "waiting.py"


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(TESTS.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_test_promises_something_in_one_sentence() -> None:
    """The docstring of every test is one sentence, so that together they read as the list of promises."""
    mute = [
        f"{path.relative_to(TESTS)}: {function.name}"
        for path, module in modules()
        if path.name.startswith("test_")
        for function in functions(module)
        if function.name.startswith("test_")
        and not (ast.get_docstring(function) or "").split("\n\n")[0].rstrip().endswith((".", "!"))
    ]
    assert mute == []


def test_no_test_sleeps() -> None:
    """Tests wait on conditions; only the helper that looks again and again sleeps in between."""
    sleeping = [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path, module in modules()
        if path != WAITING
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep"
    ]
    assert sleeping == []


def test_what_runs_on_both_servers_is_there() -> None:
    """A module that gets another name does not silently run on one PostgreSQL only."""
    missing = [name for name in sorted(ON_BOTH) if importlib.util.find_spec(name) is None]
    assert missing == []
