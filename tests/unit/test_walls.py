"""Which package of the worker may import which: the arrows of worker/README.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker

WORKER = Path(worker.__file__).parent

_BASE = {"schemas", "backoff", "addresses", "version", "errors"}
_WALLS: dict[str, set[str]] = {
    "engine": {"schemas", "results", "backoff", "errors"},
    "replies": set(),
    "results": {"schemas"},
    "addresses": set(),
    "listening": set(),
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
    "telemetry": _BASE | {"ledger", "kafka", "listening"},
    "process": _BASE | {"ledger", "partner", "session", "kafka", "settings", "replies", "telemetry"},
    "sandbox": {"schemas", "errors", "listening"},
    "embedded": {"errors"},
}
"""What each package may import. Packages that are not here may import all others: wiring, cli."""

_FREE = {"wiring", "cli", "__main__", "settings", "_forms", "_loading", "_tradovate_settings", "_interrupt"}


def _imports(path: Path) -> Iterator[str]:
    """The packages that a file imports when it runs; imports for a type checker alone do not count."""
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


def _files(package: str) -> list[Path]:
    single = WORKER / f"{package}.py"
    return [single] if single.exists() else sorted((WORKER / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(_WALLS))
def test_a_package_imports_only_what_it_may(package: str) -> None:
    """Imports point one way: a forbidden import is reported with its file."""
    files = _files(package)
    assert files
    reaching = {
        f"{path.relative_to(WORKER)} -> {other}"
        for path in files
        for other in _imports(path)
        if other != package and other not in _WALLS[package]
    }
    assert reaching == set()


def test_every_package_is_listed() -> None:
    """A new package is not forgotten here."""
    packages = {path.stem for path in WORKER.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert packages - {"__init__"} == set(_WALLS) | _FREE


def test_schemas_import_nothing_of_the_worker() -> None:
    """What crosses a wire imports nothing of the worker."""
    reaching = {
        str(path) for path in sorted((WORKER.parent / "schemas").rglob("*.py")) if set(_imports(path)) - {"schemas"}
    }
    assert reaching == set()


def test_sql_is_in_the_ledger_alone() -> None:
    """No other package has SQL: what queries the database is in the ledger."""
    words = {"fetchrow", "fetchval", "executemany"}
    statement = re.compile(r"\s*(select\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s)")
    speaking = {
        f"{path.relative_to(WORKER)}:{node.lineno}"
        for path in sorted(WORKER.rglob("*.py"))
        if path.relative_to(WORKER).parts[0] != "ledger"
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in words)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str) and statement.match(node.value))
    }
    assert speaking == set()
