"""One log for our loggers and the libraries': structlog's processors over the standard library's handler.

Log events are names (`dispatch.call_failed`), values are fields. A line goes to standard error, so that a command's
standard output stays what it promises. Three things keep secrets and personal data out of the log. Secrets are
`SecretStr` wherever they are held. `redact` removes the values of fields with certain names, and what follows a word
like `token` in any text. A traceback (`tracebacks.py`) has the text of an exception only where that holds no such data.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

import orjson
import structlog
from pydantic import SecretBytes, SecretStr

from worker.telemetry.repeated_lines import Repeats
from worker.telemetry.tracebacks import traceback_text

__all__ = ["HIDDEN", "configure", "redact"]

HIDDEN = "***"

_SECRET_NAME = re.compile(
    r"password|passwd|secret|token|authorization|cookie|api_?key|\bsec\b|p-?ticket|credential", re.IGNORECASE
)
"""Names whose values are secret or personal. Counts and times about them (`token_seconds_left`) are numbers: kept."""

_SECRET_TEXT = (
    # An Authorization header, or Tradovate's own "authorize\n1\n\n<token>" on the socket.
    re.compile(r"(?i)(\bbearer\s+)\S+"),
    re.compile(r"(?i)(\bauthorize(?:\\n|\n)\d*(?:\\n|\n){2})\S+"),
    # "password": "x", password=x, accessToken: x, in JSON, in a query, in a repr.
    re.compile(
        r"""(?i)(["']?\b[\w-]*(?:password|passwd|secret|token|sec|p-ticket)\b["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&)}\]]+)"""
    ),
    # A JSON web token, wherever it stands.
    re.compile(r"()\beyJ[\w-]+\.[\w-]+\.[\w-]*"),
    # scheme://user:password@host
    re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)"),
)

_LIBRARIES = {
    # Each request and each poll would be a line; our own events tell the calls, and metrics count them.
    "uvicorn.access": logging.WARNING,
    "faststream": logging.WARNING,
    "alembic": logging.WARNING,
}

_TALKERS = ("aiokafka", "httpx", "httpcore", "websockets")
"""Libraries that print, at debug or info, what they carry: records and frames, and addresses with a trader's name in
the query. They stay at warning whatever the level: no debugging is worth a customer's address in a log."""


def configure(level: str = "info", format: Literal["json", "console"] = "json") -> None:  # noqa: A002, the setting's word
    """Sets the whole process's logging up. Doing so again replaces what was set up before.

    `level` is debug, info, warning, error or critical; libraries that chatter are held at warning unless it is debug.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # As text, here: a console's own renderer would show the values of local variables.
        structlog.processors.ExceptionRenderer(traceback_text),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # so that configuring again, as tests do, reaches loggers made before
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Repeats(_TALKERS))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _plain, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(format)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TALKERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name, quiet in _LIBRARIES.items():
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else max(quiet, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream"):
        # They bring handlers of their own, whose lines would be no JSON.
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True
    logging.captureWarnings(capture=True)


def _plain(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leaves out what uvicorn says a second time for terminals, in colours."""
    event.pop("color_message", None)
    return event


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hides secrets: fields called like one at any depth, and in texts whatever follows a telling word.

    A structlog processor. What it hides it replaces by `HIDDEN`; numbers, booleans and None stay.
    """
    for name, value in event.items():
        event[name] = _hidden(name, value)
    return event


def _hidden(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr | SecretBytes):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if name != "event" and _SECRET_NAME.search(name):
        return HIDDEN
    return _clean(value)


def _clean(value: Any) -> Any:
    if isinstance(value, bytes):
        return _clean(value.decode("utf-8", "replace"))
    if isinstance(value, str):
        for pattern in _SECRET_TEXT:
            value = pattern.sub(rf"\1{HIDDEN}", value)
        return value
    if isinstance(value, Mapping):
        return {key: _hidden(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner) for inner in value]
    if isinstance(value, int | float | bool) or value is None:
        return value
    return _clean(str(value))


def _renderer(kind: Literal["json", "console"]) -> structlog.typing.Processor:
    if kind == "console":
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    return structlog.processors.JSONRenderer(serializer=_json)


def _json(value: Any, **_: Any) -> str:
    # A log line is never lost to a strange value: `str` for types that JSON has not, and Python's own encoder for what
    # orjson refuses, such as the lone surrogates of a header's name that was no UTF-8.
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode("utf-8")
    except TypeError:
        return json.dumps(value, default=str, skipkeys=True)
