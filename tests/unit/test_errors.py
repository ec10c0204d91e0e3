"""One tree of errors, and the drawing of it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import worker
from worker import errors
from worker.errors import Interruption, WorkerError

_ROOT = Path(worker.__file__).parent.parent
_LINE = re.compile(r"^ {4}(?P<bars>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: +(?P<path>\S+\.py)\b)?")


def _modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            yield module.name


def _exceptions() -> set[type[BaseException]]:
    """Every exception class that a module of the worker defines."""
    return {
        value
        for name in _modules()
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == name
    }


def _drawn() -> dict[str, tuple[str | None, str | None]]:
    """Of each class in the drawing: the class above it, and its file."""
    drawn: dict[str, tuple[str | None, str | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if (found := _LINE.match(line)) is None:
            continue
        depth = len(found["bars"]) // 4
        above[depth:] = [found["name"]]
        drawn[found["name"]] = (above[depth - 1] if depth else None, found["path"])
    return drawn


def test_all_errors_are_in_one_tree() -> None:
    """Every exception class of the worker comes from `WorkerError`, so that none needs a rule of its own."""
    assert {each.__qualname__ for each in _exceptions() if not issubclass(each, WorkerError)} == set()


def test_the_drawing_shows_the_tree() -> None:
    """Each public error is drawn below its base and with its file, and nothing else is drawn."""
    public = {each for each in _exceptions() if not each.__name__.startswith("_")}
    tree = {
        each.__name__: (
            None if each is WorkerError else each.__bases__[0].__name__,
            each.__module__.replace(".", "/") + ".py",
        )
        for each in public
    }
    drawn = {name: (base, f"worker/{path or 'errors.py'}") for name, (base, path) in _drawn().items()}
    assert drawn == tree


def test_a_private_error_only_interrupts() -> None:
    """A class that only its module knows is an `Interruption`: what leaves a module has a public name."""
    private = {each for each in _exceptions() if each.__name__.startswith("_")}
    assert {each.__name__ for each in private if not issubclass(each, Interruption)} == set()


def _ready_texts() -> Iterator[str]:
    """Texts with a space in them that are given to an error where it is raised. One that only interrupts is not meant:
    its module makes something of it at once.
    """
    ours = {each.__name__ for each in _exceptions() if not issubclass(each, Interruption)}
    for path in sorted(Path(worker.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ours:
                for given in (*node.args, *(keyword.value for keyword in node.keywords)):
                    if any(" " in text for text in _texts(given)):
                        yield f"{path.name}:{node.lineno}: {ast.unparse(given)}"


def _texts(given: ast.expr) -> Iterator[str]:
    for node in given.values if isinstance(given, ast.JoinedStr) else (given,):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_an_error_carries_fields() -> None:
    """An error says what is wrong in fields; its sentence is made of them where it is shown."""
    assert list(_ready_texts()) == []
