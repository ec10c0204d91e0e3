"""One word for one thing: the glossary of `worker/README.md` holds everywhere."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.processes import ROOT

_GLOSSARY = Path("worker/README.md")
_FOLDERS = ("worker", "schemas", "tests", "deploy", ".ci", "Makefile", "README.md", "pyproject.toml")
_NO_TEXT = (".min.js", ".png", ".jpg", ".svg", ".ico", ".woff2", ".hash", ".lock", ".txt")

_FIXED: Mapping[str, str] = {
    "noEmit": "an option of the TypeScript compiler",
    "--no-emit": "options of pip-compile",
    "buffered.peek(": "a method of the standard library",
    "signals_told": "a field of the sandbox's control calls",
}
"""Names with a retired word that stay, and why."""

_NAMES: Mapping[str, str] = {
    "term": "the time for which a bridge leads is no object: see `leadership`",
    "taker": "who has a lease is its holder",
}
"""Words that may be in a sentence, but not in a name of the code, and why."""


def _section() -> str:
    text = (ROOT / _GLOSSARY).read_text()
    return text[text.index("## Words") :]


def _rows() -> list[list[str]]:
    rows = [line.strip("| ").split(" | ") for line in _section().splitlines() if line.startswith("| ")]
    return rows[1:]  # the first is the heading


def _retired() -> list[str]:
    """The words in italics."""
    return re.findall(r"(?<![\w`])_([a-z][a-z' -]*)_(?!\w)", _section())


def _files() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", *_FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if name.endswith(_NO_TEXT) or name == "tests/unit/test_words.py" or not path.is_file():
            continue
        text = path.read_text()
        yield name, text.replace(_section(), "") if Path(name) == _GLOSSARY else text


def _pattern(words: list[str]) -> re.Pattern[str]:
    """Finds the words in prose, also across a line's end, and in names: `_told`, `isTold`, `test_it_is_told`."""
    forms = "|".join(r"[\s_#*-]+".join(map(re.escape, word.split(" "))) for word in words)
    titles = "|".join(word.title() for word in words if word.isalpha())
    return re.compile(rf"(?i:(?<![a-z])(?:{forms})(?![a-z]))|(?<=[a-z])(?:{titles})(?![a-z])")


def test_the_glossary_has_its_words() -> None:
    """Thirty words or more, each with its meaning, none twice, and none that is retired elsewhere in the table."""
    words = [word for row in _rows() for word in row[0].split(", ")]
    assert len(words) >= 30
    assert len(set(words)) == len(words)
    assert all(len(row) == 3 and row[1] for row in _rows())
    assert set(words) & set(_retired()) == set()
    assert len(_retired()) > 40


def test_retired_words_do_not_come_back() -> None:
    """No name, comment, docstring, log event or document uses a word for which the glossary has another one."""
    pattern = _pattern(_retired())
    found = []
    for name, text in _files():
        for fixed in _FIXED:
            text = text.replace(fixed, "")  # noqa: PLW2901
        found += [f"{name}:{text.count(chr(10), 0, each.start()) + 1}: {each[0]}" for each in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize("word", sorted(_NAMES))
def test_names_do_not_use_a_word_of_ours(word: str) -> None:
    """Neither an identifier nor a module has the word as one of its parts."""
    found = []
    for name, text in _files():
        if not name.endswith(".py"):
            continue
        names = {Path(name).stem}
        for node in ast.walk(ast.parse(text)):
            given = (getattr(node, field, None) for field in ("id", "attr", "arg", "name"))
            names |= {each for each in given if isinstance(each, str)}
        parts = {each: re.sub("([a-z])([A-Z])", r"\1_\2", each).lower().split("_") for each in names}
        found += [f"{name}: {each}" for each in names if word in parts[each]]
    assert found == []
