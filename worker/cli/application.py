"""The commands, one file a group. A command's file is read when the command is called: `--help` is there at once."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from worker._interrupt import importing
from worker.cli._errors import HELP, UnknownValue
from worker.errors import quoted
from worker.version import VERSION

__all__ = ["COMMANDS", "HELP_COLUMNS", "MODULES", "UnknownCommand", "application"]

COMMANDS = {
    "demo": "Everything on this machine, with sample events; touches nothing real.",
    "run": "One worker replica: events in, Tradovate, outcomes out.",
    "bridge": "Tradovate's alert signals to Kafka: start two, one works, one stands by.",
    "sandbox": "The simulated Tradovate alone.",
    "doctor": "Is everything as it should be? A line a check, with its fix.",
    "db": "The ledger's schema: upgrade, status.",
    "topics": "The Kafka topics: create, list.",
    "send": "Check events and publish them.",
    "watch": "Outcomes as they arrive.",
    "flows": "What became of events, and repairing: list, show, export, retry, cancel, resolve.",
    "dlq": "Dead letters: list, show, replay.",
    "import": "What the firm has at Tradovate already, out of a file into the ledger.",
    "reconcile": "Where the ledger and Tradovate differ, and the events that fix it.",
    "holds": "What keeps calls back: list, clear.",
    "pause": "No more calls by any replica, until resumed.",
    "resume": "End a pause.",
    "schemas": "JSON Schema of events and outcomes, and AsyncAPI.",
}
"""Each is a module of this package with an `app`, in the order in which help shows them."""

MODULES = {"import": "import_file"}
"""Those whose name is a word of Python's."""

HELP_COLUMNS = 100
"""On a terminal no line of help is longer, examples included; `tests/unit/test_help.py` measures all of them."""

_ENDLESS = 100_000
"""Columns of what is no terminal."""

_EXAMPLE = """Example:

\b
  tradovate-worker demo
  tradovate-worker send trader.purchased purchase.json
"""


class UnknownCommand(UnknownValue):
    """There is no command of this name."""

    @property
    def sentence(self) -> str:
        """With the nearest command, or with where all are shown."""
        hint = f"did you mean {self.nearest}?" if self.nearest else HELP
        return f"There is no command {quoted(self.given)}; {hint}"


class _Commands(TyperGroup):
    """Reads a command's module when it is called, and knows what was meant when it is mistyped."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002, the base class's name
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        with importing():
            command = typer.main.get_command(import_module(f"worker.cli.{MODULES.get(cmd_name, cmd_name)}").app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UnknownCommand(args[0], "command", list(COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def application() -> Any:
    """The command line as an object whose `main` parses and runs."""
    app = typer.Typer(cls=_Commands, rich_markup_mode=None, context_settings=help_settings())
    app.callback(invoke_without_command=True, epilog=_EXAMPLE)(_program)
    return typer.main.get_command(app)


def help_settings() -> dict[str, Any]:
    """How help is laid out: as wide as the terminal up to 100 columns; on a pipe nothing is wrapped or shortened."""
    settings: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": HELP_COLUMNS}
    if not sys.stdout.isatty():
        settings["terminal_width"] = _ENDLESS
    return settings


def _program(
    ctx: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """Carries out a prop firm's Kafka events at Tradovate's partner API, once in effect."""
    if show_version:
        print(f"tradovate-worker {VERSION}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
