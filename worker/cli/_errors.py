"""What goes wrong for a reason that an operator can correct becomes one sentence and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path

from worker.errors import OperatorError, Unavailable, quoted
from worker.ledger.errors import DatabaseError

FAILED = 1
WRONG_USAGE = 2

HELP = "`tradovate-worker --help` shows all commands."


class CommandRefused(OperatorError):
    """A command cannot be carried out. Each command defines its own ones."""

    code = FAILED


class UnknownValue(CommandRefused):
    """A name that is not one of the `known`. `what`: what it should name, an input topic for example."""

    code = WRONG_USAGE

    def __init__(self, given: str, what: str, known: Sequence[str]) -> None:
        super().__init__(given, what)
        self.given = given
        self.what = what
        self.known = tuple(known)

    @property
    def nearest(self) -> str | None:
        """The known name that is most like what was given, if one is."""
        folded = {name.casefold(): name for name in self.known}
        near = get_close_matches(self.given.casefold(), list(folded), n=1)
        return folded[near[0]] if near else None

    @property
    def sentence(self) -> str:
        """With the nearest name, or with all of them."""
        hint = f"did you mean {self.nearest}?" if self.nearest else f"there are: {', '.join(self.known)}."
        return f"{quoted(self.given)} is no {self.what}; {hint}"


class OptionFault(Enum):
    """What is wrong with an option, without its name."""

    CSV_ONLY = "is for --format csv: JSON has none"
    NOT_BEFORE = "is not before --until: nothing can be between them"
    NO_TIME = "is no time: give a day, such as 2026-11-01, or a time, such as 2026-11-01T08:30:00Z"
    NO_FACT = "has the form NAME=VALUE, for example --set accountId=98765"
    NO_FILES = "reads the outcome topics: leave out FILE and --report"
    SAME_FILE = "is the file that is imported, which it would overwrite: name another one"
    TOGETHER = "and --offset name one dead letter together; leave out both for all"


class OptionRefused(CommandRefused):
    """An option has a wrong value, or does not go with the others."""

    code = WRONG_USAGE

    def __init__(self, option: str, fault: OptionFault) -> None:
        super().__init__(option, fault.name)
        self.option = option
        self.fault = fault

    @property
    def sentence(self) -> str:
        """For an operator."""
        return f"{self.option} {self.fault.value}."


class FileMissing(CommandRefused):
    """No file is named, and standard input is a terminal. `content`: what the file should hold, in the plural."""

    code = WRONG_USAGE

    def __init__(self, content: str) -> None:
        super().__init__(content)
        self.content = content

    @property
    def sentence(self) -> str:
        """With both ways to give a file."""
        return f"Name a FILE with the {self.content}, or pipe them in."


class FileUse(Enum):
    """What a command needs a file or directory for: what to name in place of one that cannot be used."""

    EVENTS = "a file with the events"
    TRADERS = "a file with traders"
    FAULTS = "a faults file"
    REPORT = "another file for --report"
    DIFFERENCES = "another place"
    SCHEMAS = "another directory"

    @property
    def writes(self) -> bool:
        """Whether the command writes it; else it reads it."""
        return self in (FileUse.REPORT, FileUse.DIFFERENCES, FileUse.SCHEMAS)


class FileUnusable(CommandRefused):
    """A file or directory that cannot be read, or written to."""

    def __init__(self, path: Path, error: OSError, use: FileUse, code: int = WRONG_USAGE) -> None:
        super().__init__(path, error)
        self.path = path
        self.error = error
        self.use = use
        self.code = code

    @property
    def sentence(self) -> str:
        """With the system's reason."""
        done = "written" if self.use.writes else "read"
        name = _shown(str(self.path)) or "What is named"
        return f"{name} cannot be {done} ({self.error.strerror}): name {self.use.value}."


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
            name = _shown(str(error.filename or ""))
            return Failure(f"{_one_line(reason)}{f': {name}' if name else ''}.", FAILED)
        case _ if (message := getattr(error, "format_message", None)) is not None:
            # Wrong usage, as typer reports it. Where its classes are differs between releases; this method does not.
            return Failure(_with_help(_one_line(message()), getattr(error, "ctx", None)), WRONG_USAGE)
        case _:
            return _failure_of_kafka(error)


def _failure_of_kafka(error: BaseException) -> Failure | None:
    """Of an error of Kafka's client that has become none of ours where it was raised; None when it is another one."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - most commands never import it

    from worker.kafka.errors import KafkaUnavailable  # noqa: PLC0415

    return Failure(KafkaUnavailable.of(error).sentence, FAILED) if isinstance(error, KafkaError) else None


def one_of(given: str, known: Sequence[str], what: str) -> str:
    """`given`, when it is one of `known`. Raises `UnknownValue`."""
    if given not in known:
        raise UnknownValue(given, what, known)
    return given


def _shown(name: str) -> str | None:
    """A file's name, unless it may be the text of a file, given in place of its name."""
    return name if len(name) <= _LONGEST_NAME and name.isprintable() else None


_LONGEST_NAME = 255
"""Characters: what one part of a path has at most."""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _with_help(sentence: str, context: object) -> str:
    path = getattr(context, "command_path", "tradovate-worker")
    return f"{sentence.rstrip('.?')}{'?' if sentence.endswith('?') else '.'} `{path} --help` shows how."
