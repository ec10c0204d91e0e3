"""Makes the typer application of a group of commands, with the same options for every group."""

from __future__ import annotations

import typer


def group(help_text: str | None = None, *examples: str) -> typer.Typer:
    """An application whose only command is the command itself; with `help_text` and examples a group of several."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    if help_text is not None:
        # Without a callback typer takes a group that has one command for that command.
        app.callback(help=help_text, epilog=example(*examples))(_nothing)
    return app


def example(*lines: str) -> str:
    """The part `Example:` of a command's help, its lines left as they are."""
    return "Example:\n\n\b\n" + "\n".join(f"  {line}" for line in lines)


def _nothing() -> None:
    """Sub-commands do the work."""
