"""What goes wrong with a part of the demo."""

from __future__ import annotations

from enum import Enum

from worker.cli._errors import CommandRefused

__all__ = ["DemoFailed", "PartFault"]


class PartFault(Enum):
    """How a part has failed."""

    ENDED = "ended with code {number}: {said}"
    LATE = "did not start within {number:.0f} s."
    NOT_STARTED = "did not start: {said}"
    NOT_READY = "was not ready within {number:.0f} s; it says: {said}"
    SILENT = "gave no answer ({said})."
    WRONG_ANSWER = "answered with {number}."


class DemoFailed(CommandRefused):
    """A part of the demo does not run. `said`: its last words, or the error. `number`: a code, or seconds."""

    def __init__(self, part: str, fault: PartFault, said: str = "", number: float | None = None) -> None:
        super().__init__(part, fault.name, said, number)
        self.part = part
        self.fault = fault
        self.said = said
        self.number = number

    @property
    def sentence(self) -> str:
        """For an operator."""
        return f"The {self.part} of the demo {self.fault.value.format(said=self.said, number=self.number)}"
