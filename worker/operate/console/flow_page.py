"""A flow's own page, and what an operator may do to it: retry, resolve, cancel; after a confirmation, with a reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from schemas.events import Event
from schemas.outcomes import Status
from worker.engine.operator import SETTABLE, NotPossible, Obstacle
from worker.errors import OperatorError
from worker.intake.original_event import EventNotFound
from worker.ledger import browse
from worker.ledger.browse import FlowState, Summary
from worker.ledger.database import Database, DatabaseError
from worker.ledger.operator_actions import OperatorActions
from worker.ledger.story import Story, story_of
from worker.operate.console.kafka_records import KafkaUnavailable
from worker.operate.console.render import Renderer
from worker.operate.console.requests import Form, by_of, id_of, number_of, reason_of
from worker.operate.console.session import Session
from worker.operate.console.timeline import Entry, ids, timeline
from worker.operate.console.why import Step, World, why

log = structlog.get_logger()

TITLES: Mapping[str, str] = {"retry": "Retry", "resolve": "Resolve", "cancel": "Cancel"}

_EXPLAINED: Mapping[str, str] = {
    "retry": "Its event is planned again. What may have been made before is looked up first, so that nothing is made"
    " twice. A new outcome follows.",
    "resolve": "Look at Tradovate first: nobody else can tell what became of it. Its outcome says what you say here.",
    "cancel": "What has not been sent yet is not sent any more. The outcome is failed, with the code cancelled.",
}

_ALLOWED: Mapping[FlowState, tuple[str, ...]] = {
    FlowState.WAITING: ("cancel",),
    FlowState.WORKING: ("cancel",),
    FlowState.IN_DOUBT: ("resolve", "retry"),
    FlowState.SUCCEEDED: (),
    FlowState.FAILED: ("retry",),
}


@dataclass(frozen=True, slots=True)
class FlowPage:
    """What the template shows."""

    summary: Summary
    open: bool
    why: str
    ids: list[tuple[str, Any]]
    entries: list[Entry]
    actions: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Flows:
    """`event` reads a flow's event again from its topic; `world` tells what keeps calls back; `wake` tells dispatch."""

    database: Database
    render: Renderer
    mender: OperatorActions
    event: Callable[[Summary], Awaitable[Event]]
    world: Callable[[], Awaitable[World]]
    wake: Callable[[], None] = field(default=lambda: None)

    async def page(self, request: Request, session: Session) -> Response:
        """The whole page."""
        return await self._shown(request, session, "flow.html")

    async def story(self, request: Request, session: Session) -> Response:
        """The part of it that changes."""
        return await self._shown(request, session, "flow_story.html")

    async def _shown(self, request: Request, session: Session, template: str) -> Response:
        try:
            story = await self._story(request)
            world = await self.world() if story is not None else None
        except DatabaseError as error:
            return self._away(request, error)
        if story is None or world is None:
            return self._none(request)
        flow = story.summary
        shown = FlowPage(
            flow,
            flow.state.stored == "open",
            _why(story, world),
            ids(story),
            timeline(story),
            [(action, TITLES[action]) for action in _ALLOWED[flow.state]],
        )
        return self.render.page(request, template, session, page=shown)

    async def ask(self, action: str, request: Request, session: Session) -> Response:
        """The confirmation before a change."""
        return await self._form(action, request, session, Form())

    async def act(self, action: str, request: Request, session: Session, form: Form) -> Response:
        """The change."""
        reason, by = reason_of(form), by_of(form, session)
        if not reason:
            return await self._form(action, request, session, form, "Say why: it is kept with the flow.", 422)
        try:
            story = await self._story(request)
            if story is None:
                return self._none(request)
            await self._do(action, story.summary, form, reason, by)
        except NotPossible as no:
            return await self._form(action, request, session, form, no.text("tick the box"), 409)
        except (EventNotFound, KafkaUnavailable) as error:
            return await self._form(action, request, session, form, error.sentence, 409)
        except FieldError as wrong:
            return await self._form(action, request, session, form, wrong.sentence, 422)
        except DatabaseError as error:
            return self._away(request, error)
        flow_id = story.summary.flow_id
        log.info("console.flow_mended", action=action, flow_id=str(flow_id))
        self.wake()
        return self.render.redirect(f"/flows/{flow_id}")

    async def _do(self, action: str, flow: Summary, form: Form, reason: str, by: str) -> None:
        match action:
            case "cancel":
                await self.mender.cancel(flow.flow_id, reason, by)
            case "resolve":
                status, facts = _stated(form)
                await self.mender.resolve(flow.flow_id, status, facts, reason, by)
            case _:
                if "retry" not in _ALLOWED[flow.state]:
                    raise NotPossible(Obstacle.OTHER_STATE, flow.state, ("failed", "in_doubt"))
                event = None if flow.kept else await self.event(flow)
                not_made = form.get("not_made") == "yes"
                await self.mender.retry(flow.flow_id, event, reason, by, not_made=not_made)

    async def _form(
        self, action: str, request: Request, session: Session, form: Form, error: str = "", status: int = 200
    ) -> Response:
        try:
            story = await self._story(request)
        except DatabaseError as away:
            return self._away(request, away)
        if story is None:
            return self._none(request)
        allowed = action in _ALLOWED[story.summary.state]
        if not allowed and not error:
            error, status = f"The flow is {story.summary.state.replace('_', ' ')}: this cannot be done to it.", 409
        return self.render.page(
            request,
            "mend.html",
            session,
            status=status,
            flow=story.summary,
            action=action,
            title=TITLES[action],
            explained=_EXPLAINED[action],
            error=error,
            form=form,
            known=story.facts,
            settable={name: "number" if kind is int else "text" for name, kind in SETTABLE.items()},
        )

    async def _story(self, request: Request) -> Story | None:
        flow_id = id_of(request.path_params["flow_id"])
        if flow_id is None:
            return None
        async with self.database.connection() as connection:
            found = await browse.matches(connection, str(flow_id), 1)
            same = [flow for flow in found if flow.flow_id == flow_id]
            return await story_of(connection, same[0]) if same else None

    def _none(self, request: Request) -> Response:
        text = "There is no flow of this id, or it has been pruned."
        return self.render.message(request, 404, "No such flow", text)

    def _away(self, request: Request, error: DatabaseError) -> Response:
        text = f"{error.sentence} Nothing was changed. Try again."
        return self.render.message(request, 503, "Not now", text)


class FieldError(OperatorError):
    """What a field should have been."""


def _stated(form: Form) -> tuple[Status, dict[str, Any]]:
    """What an operator saw: the status, and the ids that they know."""
    try:
        status = {"succeeded": Status.SUCCEEDED, "failed": Status.FAILED}[form.get("outcome")]
    except KeyError:
        raise FieldError("Say what you saw: it took effect, or it did not.") from None
    facts: dict[str, Any] = {}
    for name, kind in SETTABLE.items():
        text = form.get(f"set-{name}").strip()
        if not text:
            continue
        value = number_of(text) if kind is int else text[:128]
        if value is None:
            raise FieldError(f"{name} must be a number: the id that Tradovate shows.")
        facts[name] = value
    return status, facts


def _why(story: Story, world: World) -> str:
    flow = story.summary
    if flow.state is FlowState.IN_DOUBT:
        return "It may or may not have taken effect. Look at Tradovate; then resolve it, or retry it."
    if flow.state.stored != "open":
        return ""
    under_way = [step for step in story.steps if step.state in ("waiting", "due", "in_flight", "unknown")]
    if not under_way:
        return why(None, world)
    step = under_way[-1]
    return why(Step(step.operation, step.state, step.due, step.waits_for, step.attempts), world)
