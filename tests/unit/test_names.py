"""Names in the code: one name has one meaning."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.processes import ROOT

_MIRRORED = "the sandbox simulates what the worker calls: both name it as Tradovate does"
_GLOSSARY = "a term of the glossary: each package has the part of it that its own name says"
_PLACE = "has the same part in each package"

_MODULES: Mapping[str, str] = {
    "alerts": _MIRRORED,
    "operation": _MIRRORED,
    "sessions": _MIRRORED,
    "turns": "whose turn it is among the events of an account: the rule, and the table",
    "bridge": "the bridge, its wiring, and the command that starts it",
    "documents": "a trader's identity documents: in an event, and as the sandbox stores them",
    "flows": _GLOSSARY,
    "holds": _GLOSSARY,
    "risk": "the risk limits of an account: in events, and as the sandbox stores them",
    "rows": "rows of the ledger: what the engine decides on, and what else is read and written",
    "times": "times as text",
    "topics": "the topics, and the command about them",
    "base": _PLACE,
    "errors": _PLACE,
}
"""Modules with one name in several packages, and why it means the same there."""

_PAIRS = (
    {"schemas/events", "worker/engine/flows"},
    {"worker/partner/operations", "worker/sandbox/operations"},
)
"""Folders that name the same things: an event and the flow that it starts; an operation, and the same simulated."""

_CLASSES: Mapping[str, str] = {"Operation": _MIRRORED, "Token": _MIRRORED}
"""Classes with one name in several modules, and why it means the same there."""


def _files() -> Iterator[Path]:
    for folder in ("worker", "schemas"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _several(found: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for name, place in found:
        places[name].append(place)
    return {name: sorted(where) for name, where in places.items() if len(where) > 1}


def _module_names() -> Iterator[tuple[str, str]]:
    for path in _files():
        if not path.stem.startswith("__"):
            yield path.stem.lstrip("_"), str(path.relative_to(ROOT))


def _class_names() -> Iterator[tuple[str, str]]:
    for path in _files():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, str(path.relative_to(ROOT))


def test_a_module_name_has_one_meaning() -> None:
    """Two modules have the same name only where it means the same, and the reason is given here."""
    several = {
        name: places
        for name, places in _several(_module_names()).items()
        if {str(Path(place).parent) for place in places} not in _PAIRS
    }
    assert {name: places for name, places in several.items() if name not in _MODULES} == {}
    assert set(_MODULES) - set(several) == set()


def test_a_class_name_has_one_meaning() -> None:
    """Two public classes have the same name only where it means the same, and the reason is given here."""
    several = _several(_class_names())
    assert {name: places for name, places in several.items() if name not in _CLASSES} == {}
    assert set(_CLASSES) - set(several) == set()


def _stubs(tree: ast.Module) -> Iterator[str]:
    """Functions whose body is `...`, `pass` or an error that says that it is not written, outside of protocols."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases):
            node.body = []
        for each in ast.iter_child_nodes(node):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                body = [line for line in each.body if not (isinstance(line, ast.Expr) and _is_text(line.value))]
                if body and ast.unparse(body[0]).partition("(")[0] in ("...", "pass", "raise NotImplementedError"):
                    yield each.name


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_no_function_is_a_stub() -> None:
    """What has a name does what it says: only a protocol may leave out a body."""
    files = sorted((ROOT / "worker").rglob("*.py"))
    assert {path.name: names for path in files if (names := [*_stubs(ast.parse(path.read_text()))])} == {}
