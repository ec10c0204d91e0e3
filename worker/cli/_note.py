"""Who uses a command, and why, as its options say it."""

from __future__ import annotations

import getpass
import os

from worker.operate.operator_note import Note, NoteIncomplete, note_of, one_line

__all__ = ["login", "note_from", "reason_from"]


def note_from(reason: str | None, by: str | None, otherwise: str = "") -> Note:
    """From `--reason` and `--by`; left out they are `otherwise` and the login name. Raises `NoteIncomplete`."""
    return note_of(otherwise if reason is None else reason, login() if by is None else by)


def reason_from(reason: str) -> str:
    """`--reason` where no name is kept. Raises `NoteIncomplete`."""
    if not (given := one_line(reason)):
        raise NoteIncomplete("reason")
    return given


def login() -> str:
    """Who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()}"
