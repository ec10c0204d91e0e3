"""The arrows of the house plan: who may know whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker

HOUSE = Path(worker.__file__).parent

_BASE = {"schemas", "backoff", "addresses", "version", "errors"}
_WALLS: dict[str, set[str]] = {
    "engine": {"schemas", "results", "backoff", "errors"},
    "replies": set(),
    "results": {"schemas"},
    "addresses": set(),
    "backoff": set(),
    "version": set(),
    "errors": set(),
    "partner": {"schemas", "replies", "results", "errors"},
    "ledger": _BASE | {"engine", "replies", "results"},
    "session": _BASE | {"ledger", "partner", "replies"},
    "kafka": _BASE | {"settings"},
    "products": {"schemas", "errors"},
    "intake": _BASE | {"engine", "ledger", "kafka", "settings", "products"},
    "outbox": _BASE | {"ledger", "kafka"},
    "dispatch": _BASE | {"engine", "ledger", "partner", "session", "replies", "results", "telemetry"},
    "bridge": _BASE | {"ledger", "partner", "session", "kafka", "settings", "replies", "telemetry", "process"},
    "operate": _BASE
    | {"session", "replies", "ledger", "kafka", "intake", "settings", "dispatch", "partner", "telemetry", "engine"},
    "telemetry": _BASE | {"ledger", "kafka"},
    "process": _BASE | {"ledger", "partner", "session", "kafka", "settings", "replies", "telemetry"},
    "sandbox": {"schemas", "errors"},
    "embedded": {"errors"},
}
"""What each room may import. Rooms that are not here tie others together: wiring, cli."""

_TIES = {"wiring", "cli", "__main__", "settings", "_forms", "_loading", "_interrupt"}


def _imports(path: Path) -> Iterator[str]:
    """The rooms that a file imports when it runs; what only a type checker reads ties nothing together."""
    module = ast.parse(path.read_text())
    unseen = {
        id(inner)
        for node in ast.walk(module)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(module):
        names: list[str] = []
        if id(node) in unseen:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"worker.{each.name}" for each in node.names] if node.module == "worker" else [node.module]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "worker" and rest:
                yield rest.split(".")[0]
            elif first == "schemas":
                yield "schemas"


def _files(room: str) -> list[Path]:
    single = HOUSE / f"{room}.py"
    return [single] if single.exists() else sorted((HOUSE / room).rglob("*.py"))


@pytest.mark.parametrize("room", sorted(_WALLS))
def test_a_room_knows_only_whom_it_may(room: str) -> None:
    """Imports point one way: a room that reaches past its wall is named with the file that does."""
    files = _files(room)
    assert files
    reaching = {
        f"{path.relative_to(HOUSE)} -> {other}"
        for path in files
        for other in _imports(path)
        if other != room and other not in _WALLS[room]
    }
    assert reaching == set()


def test_every_room_has_its_wall() -> None:
    """A new room is not forgotten here."""
    rooms = {path.stem for path in HOUSE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__"} == set(_WALLS) | _TIES


def test_schemas_know_nobody() -> None:
    """What crosses a wire imports nothing of the worker."""
    reaching = {
        str(path) for path in sorted((HOUSE.parent / "schemas").rglob("*.py")) if set(_imports(path)) - {"schemas"}
    }
    assert reaching == set()


def test_sql_is_in_the_ledger_alone() -> None:
    """No other room talks to the database: what asks it is the ledger's."""
    words = {"fetchrow", "fetchval", "executemany"}
    speaking = {
        str(path.relative_to(HOUSE))
        for path in sorted(HOUSE.rglob("*.py"))
        if path.relative_to(HOUSE).parts[0] != "ledger"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in words
    }
    assert speaking == set()
