"""Times as the commands print them: UTC, or with `--local` this machine's time; always milliseconds and the zone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from schemas.times import Clock, local_text, utc_text

Local = Annotated[bool, typer.Option("--local", help="Print times in this machine's zone, which they name.")]


def clock_of(*, local: bool) -> Clock:
    """How a time is printed."""
    return local_text if local else utc_text


def text_of(value: object, clock: Clock) -> str:
    """A time that came as text; what is no time stays as it is."""
    try:
        return clock(datetime.fromisoformat(str(value)))
    except ValueError:
        return str(value or "")
