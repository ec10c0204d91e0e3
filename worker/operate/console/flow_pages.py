"""A flow's own page, and what an operator may do to it: retry, resolve, cancel; after a confirmation, with a reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from worker.engine.operator import SETTABLE, NotPossible
from worker.errors import OperatorError, WorkerError
from worker.kafka.errors import KafkaUnavailable, TopicsForbidden, TopicsMissing
from worker.ledger.browse import FlowState, Summary
from worker.ledger.database import Database, DatabaseError
from worker.ledger.story import Story
from worker.operate.console.render import Renderer
from worker.operate.console.requests import SubmittedForm, by_of, id_of, reason_of
from worker.operate.console.session import ConsoleSession
from worker.operate.console.why import CallConditions, Step, why
from worker.operate.event_again import EventNotFound
from worker.operate.flow_reading import story_by_id
from worker.operate.flow_repair import ALLOWED, Action, FactRefused, FlowRepair, Resolution, SeenAtPartner, fact_of
from worker.operate.flow_timeline import Entry, ids, timeline
from worker.operate.operator_note import Note, NoteIncomplete, note_of

log = structlog.get_logger()

_MOST_FACT = 128
"""Characters of a name or state that an operator types."""

TITLES: Mapping[Action, str] = {Action.RETRY: "Retry", Action.RESOLVE: "Resolve", Action.CANCEL: "Cancel"}

_EXPLAINED: Mapping[Action, str] = {
    Action.RETRY: "Its event is planned again. What may have been made before is looked up first, so that nothing is"
    " made twice. A new outcome follows.",
    Action.RESOLVE: "Look at Tradovate first: nobody else can tell what became of it. Its outcome says what you say"
    " here.",
    Action.CANCEL: "What has not been sent yet is not sent any more. The outcome is failed, with the code cancelled.",
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
class FlowPages:
    """`world` says what keeps calls back; `wake` tells dispatch that there may be work."""

    database: Database
    render: Renderer
    repair: FlowRepair
    world: Callable[[], Awaitable[CallConditions]]
    wake: Callable[[], None] = field(default=lambda: None)

    async def page(self, request: Request, session: ConsoleSession) -> Response:
        """The whole page."""
        return await self._shown(request, session, "flow.html")

    async def story(self, request: Request, session: ConsoleSession) -> Response:
        """The part of it that changes."""
        return await self._shown(request, session, "flow_story.html")

    async def _shown(self, request: Request, session: ConsoleSession, template: str) -> Response:
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
            [(action, TITLES[action]) for action in ALLOWED[flow.state]],
        )
        return self.render.page(request, template, session, page=shown)

    async def ask(self, action: Action, request: Request, session: ConsoleSession) -> Response:
        """The confirmation before a change."""
        return await self._form(action, request, session, SubmittedForm())

    async def act(self, action: Action, request: Request, session: ConsoleSession, form: SubmittedForm) -> Response:
        """The change."""
        try:
            note = note_of(reason_of(form), by_of(form, session))
            story = await self._story(request)
            if story is None:
                return self._none(request)
            await self._do(action, story.summary, form, note)
        except _REFUSED as error:
            return await self._form(action, request, session, form, _refusal(error), _status(error))
        except DatabaseError as error:
            return self._away(request, error)
        flow_id = story.summary.flow_id
        log.info("console.flow_mended", action=action, flow_id=str(flow_id))
        self.wake()
        return self.render.redirect(f"/flows/{flow_id}")

    async def _do(self, action: Action, flow: Summary, form: SubmittedForm, note: Note) -> None:
        match action:
            case Action.CANCEL:
                await self.repair.cancel(flow, note)
            case Action.RESOLVE:
                await self.repair.resolve(flow, _resolution(form), note)
            case Action.RETRY:
                await self.repair.retry(flow, note, not_made=form.get("not_made") == "yes")

    async def _form(
        self,
        action: Action,
        request: Request,
        session: ConsoleSession,
        form: SubmittedForm,
        error: str = "",
        status: int = 200,
    ) -> Response:
        try:
            story = await self._story(request)
        except DatabaseError as away:
            return self._away(request, away)
        if story is None:
            return self._none(request)
        allowed = action in ALLOWED[story.summary.state]
        if not allowed and not error:
            error, status = f"The flow is {story.summary.state.replace('_', ' ')}: this cannot be done to it.", 409
        return self.render.page(
            request,
            "repair.html",
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
            return await story_by_id(connection, flow_id)

    def _none(self, request: Request) -> Response:
        text = "There is no flow of this id, or it has been pruned."
        return self.render.message(request, 404, "No such flow", text)

    def _away(self, request: Request, error: DatabaseError) -> Response:
        text = f"{error.sentence} Nothing was changed. Try again."
        return self.render.message(request, 503, "Not now", text)


class ResolutionMissing(OperatorError):
    """The form does not say how the flow ended."""


_WRONG_FORM = (NoteIncomplete, ResolutionMissing, FactRefused)
_REFUSED = (*_WRONG_FORM, NotPossible, EventNotFound, TopicsMissing, TopicsForbidden, KafkaUnavailable)
"""What the form is shown again for, with a text."""


def _status(error: WorkerError) -> int:
    return 422 if isinstance(error, _WRONG_FORM) else 409


def _refusal(error: WorkerError) -> str:
    match error:
        case NoteIncomplete():
            return "Say why: it is kept with the flow."
        case ResolutionMissing():
            return "Say what you saw: it took effect, or it did not."
        case FactRefused():
            form = "a number: the id that Tradovate shows" if error.kind is int else "readable, as Tradovate shows it"
            return f"{error.name} must be {form}."
        case NotPossible():
            return error.text("tick the box")
        case KafkaUnavailable(answered=False):
            return f"Kafka cannot be reached ({error.name}): try again."
        case _:
            return error.sentence


def _resolution(form: SubmittedForm) -> Resolution:
    """What an operator saw: how it ended, and the ids that they know. Raises `ResolutionMissing` or `FactRefused`."""
    try:
        seen = SeenAtPartner(form.get("outcome"))
    except ValueError:
        raise ResolutionMissing from None
    typed = {name: form.get(f"set-{name}").strip()[:_MOST_FACT] for name in SETTABLE}
    return Resolution(seen, {name: fact_of(name, text) for name, text in typed.items() if text})


def _why(story: Story, world: CallConditions) -> str:
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
