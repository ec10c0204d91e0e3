"""What TAB offers for an option or argument whose values are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from worker.kafka.topics import INPUT_TOPICS

__all__ = ["TopicArgument", "TopicOption", "completing"]


def completing(values: Iterable[str]) -> Callable[[str], list[str]]:
    """For `autocompletion=`: those of `values` that begin with what has been typed."""
    known = list(values)

    def complete(incomplete: str) -> list[str]:
        return [value for value in known if value.startswith(incomplete)]

    return complete


TopicArgument = Annotated[
    str,
    typer.Argument(
        metavar="TOPIC",
        help="An input topic, without prefix.",
        show_default=False,
        autocompletion=completing(INPUT_TOPICS),
    ),
]

TopicOption = Annotated[
    list[str] | None,
    typer.Option("--topic", help="Only this input topic's; may come again.", autocompletion=completing(INPUT_TOPICS)),
]
