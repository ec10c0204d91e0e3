"""Pause and resume all calls, or those of one operation: after a confirmation, with a reason that is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from starlette.requests import Request
from starlette.responses import Response

from worker.operate.console.render import Renderer
from worker.operate.console.requests import SubmittedForm, by_of, choice_of, reason_of
from worker.operate.console.session import ConsoleSession
from worker.operate.holding import HoldActions, NotPaused
from worker.operate.operator_note import NoteIncomplete, note_of
from worker.partner.operations import ENDPOINTS

log = structlog.get_logger()

OPERATIONS = tuple(sorted(ENDPOINTS))


@dataclass(frozen=True, slots=True)
class PausePages:
    """`wake` tells dispatch that calls may be made again."""

    holding: HoldActions
    render: Renderer
    wake: Callable[[], None] = field(default=lambda: None)

    async def ask(self, action: str, request: Request, session: ConsoleSession) -> Response:
        """The confirmation before the change."""
        return self._form(
            action, request, session, SubmittedForm({"operation": choice_of(request, "operation", OPERATIONS)})
        )

    async def act(self, action: str, request: Request, session: ConsoleSession, form: SubmittedForm) -> Response:
        """The change."""
        operation = form.get("operation") or None
        if operation is not None and operation not in OPERATIONS:
            return self._form(action, request, session, form, "Choose an operation, or all calls.", 422)
        try:
            note = note_of(reason_of(form), by_of(form, session))
            if action == "pause":
                await self.holding.pause(operation, note)
            else:
                await self.holding.resume(operation, note)
        except NoteIncomplete:
            return self._form(action, request, session, form, "Say why: it is kept.", 422)
        except NotPaused:
            return self._form(action, request, session, form, "There is no such pause to end.", 409)
        log.info("console.calls_paused" if action == "pause" else "console.calls_resumed", operation=operation)
        self.wake()
        return self.render.redirect("/#holds")

    def _form(
        self,
        action: str,
        request: Request,
        session: ConsoleSession,
        form: SubmittedForm,
        error: str = "",
        status: int = 200,
    ) -> Response:
        return self.render.page(
            request,
            "pause.html",
            session,
            status=status,
            action=action,
            operations=OPERATIONS,
            form=form,
            error=error,
        )
