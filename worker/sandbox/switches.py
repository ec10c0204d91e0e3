"""Turning the sandbox's switches: each is a field of `SandboxConfig`, and takes what its type says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from worker.errors import SandboxError
from worker.sandbox.config import SandboxConfig

__all__ = ["SwitchError", "switch_values", "with_switches"]


class SwitchError(SandboxError):
    """A switch that does not exist; with `form`, what it takes in place of `value`."""

    def __init__(self, name: str, value: str = "", form: str = "") -> None:
        super().__init__(name, value, form)
        self.name = name
        self.value = value
        self.form = form

    @property
    def sentence(self) -> str:
        """For who set the switch."""
        if not self.form:
            return f"{self.name} is no switch of the sandbox"
        return f"{self.name} cannot be {self.value}: it takes {self.form}"


_HINTS = get_type_hints(SandboxConfig)
_NAMES = frozenset(item.name for item in fields(SandboxConfig))


def switch_values(config: SandboxConfig) -> dict[str, Any]:
    """Return every switch with its value, ready for JSON."""
    return {item.name: getattr(config, item.name) for item in fields(config)}


def with_switches(config: SandboxConfig, changes: Mapping[str, Any]) -> SandboxConfig:
    """Return `config` with `changes` made.

    :raises SwitchError: a name that is no switch, or a value that the switch cannot take.
    """
    for name, value in changes.items():
        if name not in _NAMES:
            raise SwitchError(name)
        if not _fits(_HINTS[name], value):
            raise SwitchError(name, repr(value), _form(_HINTS[name]))
    return replace(config, **dict(changes))


def _fits(hint: Any, value: object) -> bool:
    origin = get_origin(hint)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if origin in (Union, UnionType):
        return any(_fits(choice, value) for choice in get_args(hint))
    if origin is Mapping:
        return isinstance(value, Mapping)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return origin is None and isinstance(value, hint)


def _form(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return ", ".join(map(repr, get_args(hint)))
    return str(hint) if origin is not None else str(getattr(hint, "__name__", hint))
