"""How a group of settings is found: the places that are looked at, their order, and what is said of a wrong value."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from worker._forms import Form

ENV_FILE = Path(".env")
SECRETS_DIR = Path("/run/secrets")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one setting: its name, the form it should have, and an example of it."""

    name: str
    missing: bool
    form: str
    example: str

    def __str__(self) -> str:
        return f"{self.name} is {'missing' if self.missing else 'wrong'}: {self.form}, for example {self.example}"


class SettingsError(Exception):
    """Settings that are missing or wrong, all of them together. Carries no value of any setting."""

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


class _MappingSource(EnvSettingsSource):
    """The environment, or a mapping in its place."""

    def __init__(self, settings_cls: type[BaseSettings], env: Mapping[str, str]) -> None:
        self._given = {name.lower(): value for name, value in env.items()}
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given


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
    values: dict[str, Any] = {}
    for place, source in _sources(group, env, env_file, secrets_dir).items():
        try:
            found = source()()  # pydantic reads a `.env` when its source is made, the others when it is called
        except (OSError, UnicodeDecodeError):
            wrong = Problem(place, missing=False, form="must be readable and UTF-8", example="LOG_LEVEL=info")
            raise SettingsError([wrong]) from None
        values |= {name: value for name, value in found.items() if str(value).strip()}
    try:
        return group(**values)
    except ValidationError as error:
        # `from None`: the cause's own text is free of values, its traceback's frames are not.
        raise SettingsError(_problems(group, error)) from None


def _sources(
    group: type[Group], env: Mapping[str, str], env_file: Path | None, secrets_dir: Path | None
) -> dict[str, Callable[[], PydanticBaseSettingsSource]]:
    """The places to look at, the weakest first."""
    found: dict[str, Callable[[], PydanticBaseSettingsSource]] = {}
    if secrets_dir is not None and secrets_dir.is_dir():  # pydantic warns when it is not there
        found[str(secrets_dir)] = partial(SecretsSettingsSource, group, secrets_dir)
    if env_file is not None and env_file.is_file():
        found[str(env_file)] = partial(DotEnvSettingsSource, group, env_file, env_file_encoding="utf-8")
    return found | {"the environment": partial(_MappingSource, group, env)}


def _problems(group: type[Group], error: ValidationError) -> list[Problem]:
    found = {}
    for detail in error.errors(include_url=False, include_context=True, include_input=False):
        name = str(detail.get("ctx", {}).get("setting") or detail["loc"][0])
        form = form_of(group, name)
        found[name] = Problem(name.upper(), detail["type"] in ("missing", "needed"), form.form, form.example)
    return list(found.values())


def form_of(group: type[Group], name: str) -> Form:
    field = group.model_fields[name]
    return [part for part in (*_metadata(field.annotation), *field.metadata) if isinstance(part, Form)][-1]


def _metadata(annotation: Any) -> Iterator[object]:
    """What is noted on the members of a union, as in `Annotated[int, noted] | None`."""
    for member in get_args(annotation):
        yield from getattr(member, "__metadata__", ())


def needed(setting: str | None = None) -> PydanticCustomError:
    """A setting that another one makes necessary; without `setting`, the one that is being checked."""
    return PydanticCustomError("needed", "needed", {"setting": setting})
