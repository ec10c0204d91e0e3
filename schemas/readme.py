"""The table of `schemas/README.md`: what the worker checks and no schema says. `python -m schemas.readme` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel
from typing_extensions import TypeAliasType

from schemas.events import EVENTS
from schemas.records import RECORD_RULES
from schemas.rules import Checked, ReadBy, Rule

README: Final = Path(__file__).with_name("README.md")

_BEGIN: Final = "<!-- made by `make schemas` -->\n"
_END: Final = "<!-- end -->\n"


def models() -> tuple[type[BaseModel], ...]:
    """All models that events are made of, each once, in the order in which they appear."""
    found: dict[type[BaseModel], None] = {}
    waiting: list[type[BaseModel]] = [*EVENTS.values()]
    while waiting:
        model = waiting.pop(0)
        if model not in found:
            found[model] = None
            parts = [part for field in model.model_fields.values() for part in _parts(field.annotation)]
            waiting[:0] = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
    return tuple(found)


def _parts(annotation: Any) -> Iterator[Any]:
    """A type, and all types and annotations that it is written with; models are not opened."""
    yield annotation
    inner = (annotation.__value__,) if isinstance(annotation, TypeAliasType) else get_args(annotation)
    for part in inner:
        yield from _parts(part)


def rules() -> Iterator[tuple[str, Rule]]:
    """Each rule of the models that is more than a type, a form or a limit, and where it holds."""
    for model in models():
        for rule in getattr(model, "rules", ()):
            yield model.__name__, rule
        for name, field in model.model_fields.items():
            where = f"{model.__name__}.{field.alias or name}"
            for part in (*field.metadata, *_parts(field.annotation)):
                if isinstance(part, Checked):
                    yield where, part
                elif isinstance(part, ReadBy):
                    yield from ((where, rule) for rule in part.more)


def unsaid() -> dict[Rule, list[str]]:
    """Each rule that JSON Schema cannot say, with the places where it holds."""
    found: dict[Rule, list[str]] = {rule: [] for rules in RECORD_RULES.values() for rule in rules}
    for where, rule in rules():
        if rule.schema is None:
            found.setdefault(rule, []).append(where)
    return found


def table() -> str:
    """The table, between its marks."""
    lines = ["| where | rule | why no schema says it |", "|---|---|---|"]
    for rule, places in unsaid().items():
        where = ", ".join(f"`{place}`" for place in places) or "every record"
        lines.append(f"| {where} | {rule.says} | {rule.why} |")
    return _BEGIN + "\n".join(lines) + "\n" + _END


def renewed(text: str) -> str:
    """`text` with the table as the rules are today."""
    before, rest = text.split(_BEGIN)
    return before + table() + rest.split(_END)[1]


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
