"""What a record has to be before a schema can be asked about it, by the `dlq-reason` of one that is not."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from schemas.rules import Rule

_BEFORE: Final = "a schema sees the parsed event only"

RECORD_RULES: Final[Mapping[str, tuple[Rule, ...]]] = MappingProxyType(
    {
        "no_value": (Rule(says="the record has a value", why=_BEFORE),),
        "too_large": (Rule(says="the value has at most 1 MiB (1,048,576 bytes), uncompressed", why=_BEFORE),),
        "not_utf8": (Rule(says="the value is UTF-8", why=_BEFORE),),
        "not_json": (
            Rule(says="the value is JSON, nested at most 1024 levels deep", why=_BEFORE),
            Rule(
                says="a text is valid Unicode: no half of a surrogate pair, such as `\\ud800` alone",
                why="not every language can read a pattern that says so",
            ),
            Rule(
                says="a number is not larger than a double can be (about 1.8e308), in unknown fields as well",
                why="many parsers make infinity of it before they ask a schema",
            ),
        ),
        "wrong_type": (
            Rule(
                says="a whole number has no fraction and no exponent: `11`, never `11.0` or `1.1e1`",
                why="11.0 is an integer to JSON Schema",
            ),
        ),
        "rule_broken": (
            Rule(
                says="an id is at most 9223372036854775807",
                why="the schema says it, but JavaScript rounds numbers above 2^53 before it asks",
            ),
        ),
        "no_id": (
            Rule(
                says="the event has an id: the header `ce_id`, else `id` of a CloudEvents envelope, else `eventId`",
                why="a schema sees neither headers nor envelope, so it cannot require `eventId`",
            ),
        ),
        "bad_header": (Rule(says="the header `ce_id` is UTF-8", why=_BEFORE),),
        "bad_id": (
            Rule(
                says="`ce_id` and the `id` of an envelope keep the rules of `eventId`, which is not read beside them",
                why="a schema sees neither headers nor envelope",
            ),
        ),
        "missing_field": (
            Rule(
                says="an object with `specversion`, and with `data` or without any other id (`ce_id`, `eventId`), is a "
                "CloudEvents envelope: the event is its `data`",
                why="the schemas describe the event alone",
            ),
        ),
        "unknown_product": (
            Rule(says="`product` names a product of the catalogue", why="the catalogue is a file of the worker's"),
        ),
        "id_reused": (
            Rule(says="an id that came before comes with the same content", why="a schema sees one event at a time"),
        ),
    }
)
"""Rules that no model can hold, by dead-letter code. Codes that only say what a model or a schema says are not here."""
