"""The pages of the packages name files that are there, and no file is left out of a table of files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

_PAGES = sorted(path for folder in ("worker", "schemas") for path in (ROOT / folder).rglob("README.md"))
_NAME = re.compile(r"`((?:\.\./)*[\w/]+\.py|(?:\.\./)*\w[\w/]*/)`")


def _named(page: Path) -> Iterator[str]:
    for found in _NAME.finditer(page.read_text()):
        yield found[1]


def _is_there(name: str, page: Path) -> bool:
    if any((folder / name).exists() for folder in (page.parent, ROOT / "worker", ROOT)):
        return True
    return any(page.parent.glob(f"*/{name}"))  # named beside its folder


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_files_that_are_there(page: Path) -> None:
    """A file that was renamed is renamed in the page of its package too."""
    assert [name for name in _named(page) if not _is_there(name, page)] == []


_SOURCES = sorted(path for folder in ("worker", "schemas", "tests") for path in (ROOT / folder).rglob("*.py"))
_HEADING = re.compile(r"\b((?:[\w/]+/)?README(?:\.md)?), \"([A-Z][^\"]+)\"")


def test_the_source_of_a_rule_is_in_the_repository() -> None:
    """A comment that names a heading of a page names one that is there; none cites a paper that a reader has not."""
    cited: set[tuple[str, str]] = set()
    for path in _SOURCES:
        text = re.sub(r"\n\s*(?:# ?)?", " ", path.read_text())
        assert re.search(r"\bcontract,? (section )?\d", text) is None, path
        cited |= set(_HEADING.findall(text))
    headings = {
        (str(page.relative_to(ROOT)), heading)
        for page in [ROOT / "README.md", ROOT / "deploy" / "README.md", *_PAGES]
        for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    }
    assert cited
    assert {(page.removesuffix(".md") + ".md", heading) for page, heading in cited} - headings == set()


def test_the_house_plan_has_every_package_and_module() -> None:
    """What lies directly in `worker/` is in the table of packages."""
    page = (ROOT / "worker" / "README.md").read_text()
    (table,) = re.findall(r"^\| package \|.*?(?=\n\n)", page, re.MULTILINE | re.DOTALL)
    listed = set(re.findall(r"`(\w+(?:\.py|/))`", table))
    folder = ROOT / "worker"
    there = {path.name for path in folder.glob("*.py")} | {
        f"{path.parent.name}/" for path in folder.glob("*/__init__.py")
    }
    assert there - {"__init__.py"} == listed - {"schemas/"}


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_table_of_files_is_complete(page: Path) -> None:
    """A page that has a table of the package's files has all of them."""
    tables = re.findall(r"^\| file \|.*?(?=\n\n)", page.read_text(), re.MULTILINE | re.DOTALL)
    if not tables:
        return
    listed = {name for table in tables for name in re.findall(r"`(\w+(?:\.py|/))`", table)}
    files = {path.name for path in page.parent.glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {f"{path.parent.name}/" for path in page.parent.glob("*/__init__.py")}
    assert (files | folders) - listed == set()
