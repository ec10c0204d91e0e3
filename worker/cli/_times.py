"""Times as the commands print them: UTC, or with `--local` this machine's time; always milliseconds and the zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from schemas.times import Clock, local_text, utc_text
from worker.cli._errors import OptionFault, OptionRefused

Local = Annotated[bool, typer.Option("--local", help="Print times in this machine's zone, which they name.")]


def clock_of(*, local: bool) -> Clock:
    """How a time is printed."""
    return local_text if local else utc_text


def moment_of(text: str, option: str, *, local: bool) -> datetime:
    """A time that an operator gives: a day (its beginning), or RFC 3339; without an offset UTC, or this machine's zone
    with `--local`. Raises `OptionRefused`.
    """
    try:
        given = datetime.fromisoformat(text.strip())
        zoned = given if given.tzinfo is not None else given.astimezone() if local else given.replace(tzinfo=UTC)
        return zoned.astimezone(UTC)
    except (ValueError, OverflowError):
        raise OptionRefused(option, OptionFault.NO_TIME) from None


def text_of(value: object, clock: Clock) -> str:
    """A time that came as text; what is no time stays as it is."""
    try:
        return clock(datetime.fromisoformat(str(value)))
    except ValueError:
        return str(value or "")
