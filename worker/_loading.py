"""How a group of settings is found: the places that are looked at, their order, and what is said of a wrong value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar, get_args

from dotenv.parser import Binding, parse_stream
from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from worker._forms import ValueForm
from worker.errors import OperatorError

ENV_FILE = Path(".env")
SECRETS_DIR = Path("/run/secrets")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one setting: its name, the form it should have, and an example of it."""

    name: str
    missing: bool
    form: str
    example: str

    @property
    def what(self) -> str:
        """`KAFKA_GROUP_ID is missing: a text`, without the example."""
        return f"{self.name} is {'missing' if self.missing else 'wrong'}: {self.form}"

    def __str__(self) -> str:
        return f"{self.what}, for example {self.example}"


class SettingsError(OperatorError):
    """Settings that are missing or wrong, all of them together. Carries no value of any setting."""

    code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


class Group(BaseSettings):
    """Settings that are asked for together; a subclass may join several groups.

    An empty value counts as none: compose files and Kubernetes manifests pass `NAME=` for what is not set. Names that
    nobody knows are ignored: the environment is shared with everything else.
    """

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, validate_default=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003, the base class's names
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but what is passed in: making a group must not look at this machine by itself, `load` does."""
        return (init_settings,)


G = TypeVar("G", bound=Group)


class _Given(EnvSettingsSource):
    """All that was found, by names in lower case: what pydantic takes for its environment."""

    def __init__(self, settings_cls: type[BaseSettings], found: Mapping[str, str]) -> None:
        self._found = found
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._found


def load(
    group: type[G],
    env: Mapping[str, str] | None = None,
    *,
    env_file: Path | None = None,
    secrets_dir: Path | None = None,
) -> G:
    """Reads a group of settings: from `env`, else `env_file`, else `secrets_dir`.

    Without `env` these are this process's environment, `.env` and `/run/secrets`; with it, nothing that is not passed
    is looked at, so `demo` and tests cannot reach anything real. Raises `SettingsError` with all that is wrong.
    """
    if env is None:
        env, env_file, secrets_dir = os.environ, env_file or ENV_FILE, secrets_dir or SECRETS_DIR
    found: dict[str, str] = {}
    for place in (_secrets(group, secrets_dir), _lines(group, env_file), env):  # the weakest first
        found |= {name.lower(): value for name, value in place.items() if value.strip()}
    values = _Given(group, found)()
    for name, value in values.items():
        if not _is_text(value):
            values[name] = _NO_TEXT
    try:
        return group(**values)
    except ValidationError as error:
        # `from None`: the cause's own text is free of values, its traceback's frames are not.
        raise SettingsError(_problems(group, error)) from None


_NO_TEXT = object()
"""In place of bytes that are no UTF-8: no setting takes it."""


def _is_text(value: str) -> bool:
    """Whether it is more than the bytes of an environment that are no UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _lines(group: type[Group], env_file: Path | None) -> dict[str, str]:
    """What a `.env` says. Values are taken as they stand: a password may hold `${`. Raises `SettingsError` that names
    each line which says nothing, or which cannot be meant like that: what a wrong line sets would be missing silently.
    """
    if env_file is None:
        return {}
    with _readable(env_file):
        if not env_file.is_file():
            return {}
        text = env_file.read_text(encoding="utf-8-sig")
    lines = list(parse_stream(StringIO(text)))
    if wrong := [line for line in lines if not _is_plain(line, group)]:
        raise SettingsError([Problem(f"{env_file} line {_number(line)}", False, *_LINE) for line in wrong])
    return {line.key: line.value for line in lines if line.key is not None and line.value is not None}


_LINE = ("NAME=value, where quotes that open are closed on the same line, and end it", 'LOG_LEVEL="info"')
_SETS = re.compile(r"^\s*(?:export\s+)?(\w+)\s*=", re.MULTILINE)


def _is_plain(line: Binding, group: type[Group]) -> bool:
    """Whether it is a comment, or gives a name a value. One of several lines has nothing to do with our settings: where
    a quote is not closed, the settings below are read as a part of the value.
    """
    if line.error or line.key is None:
        return not line.error
    several = "\n" in line.original.string.strip()
    names = {name.lower() for name in (line.key, *_SETS.findall(line.original.string))} if several else set()
    return line.value is not None and names.isdisjoint(group.model_fields)


def _number(line: Binding) -> int:
    """Of the line on which it begins: empty ones before it belong to what was read."""
    read = line.original.string
    return line.original.line + read[: len(read) - len(read.lstrip())].count("\n")


def _secrets(group: type[Group], directory: Path | None) -> dict[str, str]:
    """The files that are named like a setting of the group. What else is there is none of ours, and not read."""
    if directory is None:
        return {}
    found = {}
    with _readable(directory):
        if not directory.is_dir():
            return {}
        files = [path for path in sorted(directory.iterdir()) if path.name.lower() in group.model_fields]
    for path in files:
        with _readable(path):
            found[path.name] = path.read_text(encoding="utf-8-sig").strip()
    return found


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Names the place that cannot be read, a directory where a file should be among them."""
    try:
        yield
    except (OSError, UnicodeDecodeError):
        wrong = Problem(str(path), missing=False, form="must be readable and UTF-8", example="LOG_LEVEL=info")
        raise SettingsError([wrong]) from None


def _problems(group: type[Group], error: ValidationError) -> list[Problem]:
    found = {}
    for detail in error.errors(include_url=False, include_context=True, include_input=False):
        name = str(detail.get("ctx", {}).get("setting") or detail["loc"][0])
        form = form_of(group, name)
        found[name] = Problem(name.upper(), detail["type"] in ("missing", "needed"), form.form, form.example)
    return list(found.values())


def form_of(group: type[Group], name: str) -> ValueForm:
    field = group.model_fields[name]
    return [part for part in (*_metadata(field.annotation), *field.metadata) if isinstance(part, ValueForm)][-1]


def _metadata(annotation: Any) -> Iterator[object]:
    """What is noted on the members of a union, as in `Annotated[int, noted] | None`."""
    for member in get_args(annotation):
        yield from getattr(member, "__metadata__", ())


def needed(setting: str | None = None) -> PydanticCustomError:
    """A setting that another one makes necessary; without `setting`, the one that is being checked."""
    return PydanticCustomError("needed", "needed", {"setting": setting})
