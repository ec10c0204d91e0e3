"""Why a command cannot read on at Tradovate, for an operator."""

from __future__ import annotations

from enum import Enum

from worker.errors import OperatorError

TRIES = 10
"""Reads in a row without a result before the command gives up: with delays up to a minute, some five minutes of outage.
An operator waits for it, and can continue with the same command."""

_STANDS = "What was done stands: the same command continues."


class ReadsEnd(Enum):
    """Why a command cannot read on, for an operator."""

    NO_SESSION = "There is no session at Tradovate ({detail}): `tradovate-worker doctor` names the fix."
    NOT_PERMITTED = "{detail}: give the API key that permission at Tradovate."
    UNREADABLE = f"{{Detail}}. {_STANDS}"
    CHANGES = f"The host, or the session, changes faster than it can be read. {_STANDS}"
    NO_ANSWER = f"Tradovate has not answered {{detail}} {{tries}} times in a row. {_STANDS}"


class ReadsEnded(OperatorError):
    """A command cannot read on. What it has done stands, and the same command continues.

    `detail`: why there is no session, what is not permitted, which read has no answer, or what is wrong with it.
    """

    def __init__(self, end: ReadsEnd, detail: str = "") -> None:
        super().__init__(end.name, detail)
        self.end = end
        self.detail = detail

    @property
    def sentence(self) -> str:
        """For an operator."""
        detail = self.detail.rstrip(".")
        return self.end.value.format(detail=detail, Detail=f"{detail[:1].upper()}{detail[1:]}", tries=TRIES)
