"""The wire as documents: JSON Schemas and an AsyncAPI 3 description. `schemas/export/` holds what `export` writes.

What the worker checks and JSON Schema cannot say stands in the descriptions, and in the table of `schemas/README.md`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas._yaml import to_yaml
from schemas.asyncapi import asyncapi
from schemas.bridged import BRIDGED
from schemas.events import TOPICS
from schemas.json_schemas import bridged_schema, event_schema, outcome_schema

__all__ = ["asyncapi", "bridged_schema", "documents", "event_schema", "export", "outcome_schema"]


def documents() -> dict[str, bytes]:
    """File name -> content of everything that is exported."""
    files = {"asyncapi.yaml": to_yaml(asyncapi()).encode()}
    for topic in TOPICS:
        files[f"{topic}.schema.json"] = _json(event_schema(topic))
        files[f"{topic}.outcome.schema.json"] = _json(outcome_schema(topic))
    for topic in BRIDGED:
        files[f"{topic}.schema.json"] = _json(bridged_schema(topic))
    return files


def _json(schema: dict[str, Any]) -> bytes:
    # In ASCII: patterns hold white space of other scripts, which nobody could see.
    return f"{json.dumps(schema, indent=2)}\n".encode()


def export(directory: Path) -> tuple[Path, ...]:
    """Writes all documents into `directory`, which is made if need be; the paths that were written."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in documents().items():
        path = directory / name
        path.write_bytes(content)
        written.append(path)
    return tuple(written)
