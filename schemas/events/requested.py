"""`permission.requested`: an account holder asks for a trader (CTA) on an account."""

from __future__ import annotations

from typing import Annotated, ClassVar

from schemas.base import PERSONAL, Email, Id, Text
from schemas.events.base import Event


class PermissionRequested(Event):
    """Tradovate, request trading permission. `cta_contact`, `cta_email`: whom the permission is for."""

    topic: ClassVar[str] = "permission.requested"

    account_id: Id
    cta_contact: Annotated[Text, PERSONAL]
    cta_email: Annotated[Email, PERSONAL]
