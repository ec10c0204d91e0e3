"""Text from outside, made fit to be kept: once, where it comes in.

PostgreSQL holds no NUL, UTF-8 no lone surrogate, and no text that means something is longer than the vendor's longest.
"""

from __future__ import annotations

from typing import Any

__all__ = ["TEXT_LIMIT", "clean", "cleaned"]

TEXT_LIMIT = 8192
"""Characters; the vendor's endpoint pages give it as the longest `errorText`."""


def clean(text: str) -> str:
    """The text without NUL, with `?` for each lone surrogate, cut after `TEXT_LIMIT` characters."""
    return text.replace("\x00", "")[:TEXT_LIMIT].encode("utf-8", "replace").decode()


def cleaned(value: Any) -> Any:
    """A JSON value with all its texts clean, the keys of its objects too."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [cleaned(inner) for inner in value]
    return value
