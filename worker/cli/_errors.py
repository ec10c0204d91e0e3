"""What goes wrong for a reason that an operator can mend becomes one sentence and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from worker.errors import OperatorError, Unavailable, quoted
from worker.ledger.errors import DatabaseError

FAILED = 1
WRONG_USAGE = 2

HELP = "`tradovate-worker --help` shows all commands."


class CommandRefused(OperatorError):
    """The command cannot be carried out: one sentence that names the mend, and the exit code."""

    def __init__(self, sentence: str, code: int = FAILED) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Failure:
    """What is printed, on one line, and the exit code."""

    sentence: str
    code: int


def failure_of(error: BaseException) -> Failure | None:
    """What to tell an operator of `error`; None when it is a fault of the program, whose traceback is needed."""
    match error:
        case OperatorError():
            return Failure(_one_line(error.sentence), error.code)
        case DatabaseError() | Unavailable():
            return Failure(_one_line(error.sentence), FAILED)
        case OSError(strerror=str(reason)):
            return Failure(f"{_one_line(reason)}{f': {error.filename}' if error.filename else ''}.", FAILED)
        case _ if (message := getattr(error, "format_message", None)) is not None:
            # Wrong usage, as typer tells it. Its classes have moved between its releases; their shape has not.
            return Failure(_with_help(_one_line(message()), getattr(error, "ctx", None)), WRONG_USAGE)
        case _:
            return None


def one_of(given: str, known: Sequence[str], what: str) -> str:
    """`given`, when it is one of `known`; else `CommandRefused` with the nearest one, or with all of them."""
    if given in known:
        return given
    folded = {name.casefold(): name for name in known}
    near = get_close_matches(given.casefold(), list(folded), n=1)
    hint = f"did you mean {folded[near[0]]}?" if near else f"there are: {', '.join(known)}."
    raise CommandRefused(f"{quoted(given)} is no {what}; {hint}", WRONG_USAGE)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _with_help(sentence: str, context: object) -> str:
    path = getattr(context, "command_path", "tradovate-worker")
    return f"{sentence.rstrip('.?')}{'?' if sentence.endswith('?') else '.'} `{path} --help` shows how."
