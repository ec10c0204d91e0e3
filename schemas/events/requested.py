"""`permission.requested`: an account holder asks for a trader (CTA) on an account."""

from __future__ import annotations

from typing import Annotated, ClassVar

from schemas.base import PERSONAL, Email, Id, Text
from schemas.events.base import Event, Examples


class PermissionRequested(Event):
    """A trading permission is asked for (Tradovate, request trading permission)."""

    topic: ClassVar[str] = "permission.requested"
    examples: ClassVar[Examples] = (
        {"eventId": "e-11", "accountId": 98765, "ctaContact": "Jane Doe", "ctaEmail": "jane@example.com"},
    )

    account_id: Id
    """The account at Tradovate (DEMO)."""
    cta_contact: Annotated[Text, PERSONAL]
    """The name of the trader whom the permission is for."""
    cta_email: Annotated[Email, PERSONAL]
    """The e-mail address of that trader."""
