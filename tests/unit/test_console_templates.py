"""What the console's templates use, they import: a page that is seldom shown must not fail when it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import worker.operate.console

TEMPLATES = Path(worker.operate.console.__file__).parent / "templates"

_MACROS = {"time", "badge", "th"}
"""Those of `parts.html`."""


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_a_template_imports_the_macros_that_it_uses(path: Path) -> None:
    """Parts of the first page are rendered alone, without what the page itself has imported."""
    text = path.read_text()
    used = {name for name in _MACROS if re.search(rf"{{{{ *{name}\(", text)}
    imported = re.findall(r'{% from "parts.html" import ([^%]*) %}', text)
    assert path.name == "parts.html" or used <= {name.strip() for each in imported for name in each.split(",")}
