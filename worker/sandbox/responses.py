"""What the partner answers: one value that the HTTP edge and the socket edge both know how to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.sandbox.config import SandboxConfig

__all__ = ["CUT", "HANG", "Reply", "denied", "html", "ok", "raw", "refusal", "simple", "text", "violations"]

Json = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `data` is JSON still to be written, unless `body` already holds the bytes.

    `failed` says whether limits that count failures only count this one.
    """

    status: int = 200
    data: Any = None
    body: bytes | None = None
    content_type: str = Json
    failed: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    parts: list[Any] | None = None
    """The messages of a split answer, which only a socket can be given."""
    connection: Literal["answer", "cut", "hang"] = "answer"

    def encode(self) -> bytes:
        return self.body if self.body is not None else orjson.dumps(self.data)


CUT = Reply(status=0, connection="cut", failed=True)
"""The connection ends without an answer."""

HANG = Reply(status=0, connection="hang", failed=True)
"""The answer never comes."""


def ok(config: SandboxConfig, **data: Any) -> Reply:
    """Return a success, with errorText absent, null or empty as the switch says (error handling page)."""
    return Reply(data=with_success_text(config, data))


def with_success_text(config: SandboxConfig, data: dict[str, Any]) -> dict[str, Any]:
    """Add the errorText of a success to a body or to one item's result."""
    if config.success_error_text == "empty":
        data["errorText"] = ""
    elif config.success_error_text == "null":
        data["errorText"] = None
    return data


def simple(config: SandboxConfig) -> Reply:
    """Return the vendor's SimpleResponse of a success."""
    return ok(config, ok=True)


def refusal(message: str, **data: Any) -> Reply:
    """Return a business failure: HTTP 200 with an errorText (error handling page)."""
    return Reply(data={"errorText": message, **data}, failed=True)


def violations(config: SandboxConfig, problems: Sequence[tuple[str, str]]) -> Reply:
    """Return a validation failure: HTTP 200 with (field, description) as violations (error handling page)."""
    return Reply(
        data={
            "violations": [
                {
                    "constraint": name if config.violation_constraint == "field" else "required_field_missing",
                    "value": "",
                    "description": description,
                }
                for name, description in problems
            ]
        },
        failed=True,
    )


def text(status: int, body: str) -> Reply:
    """Return an HTTP error whose body is a plain sentence."""
    return Reply(status=status, body=body.encode(), content_type="text/plain; charset=utf-8", failed=status >= 400)


def raw(status: int, body: bytes = b"", content_type: str = Json) -> Reply:
    """Return bytes as they are; without any, the answer has Content-Length 0."""
    return Reply(status=status, body=body, content_type=content_type, failed=status >= 400)


def html(status: int) -> Reply:
    """Return what a proxy in front of the partner says."""
    page = b"<html><head><title>Error</title></head><body><center><h1>Error</h1></center></body></html>"
    return raw(status, page, "text/html")


def denied(config: SandboxConfig, status: int = 401) -> Reply:
    """Return the answer to a call that is not allowed (error handling page)."""
    return text(status, "Access is denied") if config.denied_body == "text" else raw(status)
