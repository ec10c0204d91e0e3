"""The command line: parse, run, print one line when it went wrong. What a command does is in its own module."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from worker._interrupt import INTERRUPTED, importing, terminated_as_interrupted

PROGRAM = "tradovate-worker"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted."""
    _open_closed_streams()
    _forget_settings_of_postgresql()
    try:
        with terminated_as_interrupted():
            return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def _open_closed_streams() -> None:
    """A standard stream that the caller has closed (`<&-`) is there, and takes or gives nothing.

    Besides, its number would go to the next connection, into which whatever writes to it would write.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the process ends


def _forget_settings_of_postgresql() -> None:
    """What PostgreSQL's own clients read (`PGPORT`, `PGPASSWORD`, `PGSSLMODE`, …) is none of our settings.

    The driver would read it wherever `DATABASE_URL` leaves something open: `demo` would not find its own server.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def _run(arguments: Sequence[str]) -> int:
    with importing():  # so that Ctrl-C may come while the program is still being read
        import pydantic  # noqa: F401, PLC0415 - typer imports it when it parses, where Ctrl-C would be an exception

        from worker.cli._errors import failure_of  # noqa: PLC0415
        from worker.cli._output import end_streams, reader_has_gone  # noqa: PLC0415
        from worker.cli.application import application  # noqa: PLC0415

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that knows no arrows gets \u2192 rather than a traceback
            stream.reconfigure(errors="backslashreplace")
    # Warnings of libraries go to the standard logging, which would print them between the lines of a command.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        code = application().main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except (Exception, SystemExit) as error:
        if reader_has_gone(error):
            return 0
        if (failure := failure_of(error)) is None:
            raise
        with suppress(OSError):  # nobody reads standard error either: the exit code says it
            print(f"Error: {failure.sentence}", file=sys.stderr, flush=True)
        return failure.code
    finally:
        end_streams()
    return code if isinstance(code, int) else 0
