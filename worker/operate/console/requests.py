"""What comes in with a request: forms and addresses. Nothing of it is trusted."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.requests import Request

from worker.errors import OperatorError
from worker.operate.console.session import MOST_NAME, ConsoleSession

MOST_BYTES = 64 * 1024
"""Of a form: a reason, some ids and a token need a hundredth of it."""

MOST_TEXT = 200
"""Characters of something that is searched for: ids have 128 at most."""

MOST_REASON = 500
"""Characters of a reason: it is kept, and that of a flow stands in its outcome."""

_MOST_FIELDS = 100


class FormTooLarge(OperatorError):
    """More bytes than any form of ours has."""


@dataclass(frozen=True, slots=True)
class SubmittedForm:
    """A form's fields; of those with the same name the last."""

    fields: Mapping[str, str] = field(default_factory=dict, repr=False)

    def get(self, name: str) -> str:
        """A field, empty when it is not there."""
        return self.fields.get(name, "")


async def read_form(request: Request) -> SubmittedForm:
    """The form in the request's body. Raises `FormTooLarge`; what is no form at all is an empty one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise FormTooLarge
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return SubmittedForm()
    return SubmittedForm({name: text.replace("\0", "") for name, text in pairs})


def reason_of(form: SubmittedForm) -> str:
    """Why an operator does something, from the field `reason`; empty when it is not said."""
    return " ".join(form.get("reason").split())[:MOST_REASON]


def by_of(form: SubmittedForm, session: ConsoleSession) -> str:
    """Who does it: the field `by`, or the name of the session."""
    return (" ".join(form.get("by").split()) or session.by or "console")[:MOST_NAME]


def text_of(request: Request, name: str) -> str:
    """A part of the address's query, cut to what can be searched for."""
    return " ".join(request.query_params.get(name, "").replace("\0", "").split())[:MOST_TEXT]


def choice_of(request: Request, name: str, choices: tuple[str, ...]) -> str:
    """One of `choices`, or nothing."""
    text = request.query_params.get(name, "")
    return text if text in choices else ""


def id_of(text: str) -> uuid.UUID | None:
    """A flow's id."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def number_of(text: str) -> int | None:
    """A number that PostgreSQL can hold as an id."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        return None
    number = int(text)
    return number if 0 < number < 2**63 else None


def time_of(text: str) -> datetime | None:
    """A time as a `datetime-local` field sends it, in UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not 2000 <= at.year < 2200:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
