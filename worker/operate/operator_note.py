"""Who does something, and why: kept with what an operator changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.cleaning import clean
from worker.errors import OperatorError

__all__ = ["Note", "NoteIncomplete", "note_of", "one_line"]


class NoteIncomplete(OperatorError):
    """The `reason`, or the name (`by`), is empty."""

    code = 2

    def __init__(self, part: Literal["reason", "by"]) -> None:
        super().__init__(part)
        self.part = part

    @property
    def sentence(self) -> str:
        """For an operator at the command line."""
        return f"--{self.part} is empty: say {'why' if self.part == 'reason' else 'who'}, for it is kept."


@dataclass(frozen=True, slots=True)
class Note:
    """An operator's reason and name: one line each, neither empty. Made by `note_of`."""

    reason: str
    by: str


def note_of(reason: str, by: str) -> Note:
    """From what an operator typed. Raises `NoteIncomplete`."""
    note = Note(one_line(reason), one_line(by))
    if not note.reason:
        raise NoteIncomplete("reason")
    if not note.by:
        raise NoteIncomplete("by")
    return note


def one_line(text: str) -> str:
    """A text from outside without NUL, line ends and double spaces."""
    return " ".join(clean(text).split())
