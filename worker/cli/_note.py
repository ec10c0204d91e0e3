"""Who uses a command, and why, as its options say it."""

from __future__ import annotations

import getpass
import os
from typing import Annotated

import typer

from worker.operate.operator_note import Note, note_of

__all__ = ["By", "login", "name_from", "note_from"]

By = Annotated[
    str | None, typer.Option("--by", help="Who; it is kept. Your login name if left out.", show_default=False)
]


def note_from(reason: str | None, by: str | None, otherwise: str = "") -> Note:
    """From `--reason` and `--by`; left out they are `otherwise` and the login name. Raises `NoteIncomplete`."""
    return note_of(otherwise if reason is None else reason, login() if by is None else by)


def name_from(by: str | None) -> str:
    """From `--by`, where no reason is kept. Raises `NoteIncomplete`."""
    return note_from("-", by).by


def login() -> str:
    """Who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()}"
