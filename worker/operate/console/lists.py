"""The pages that are lists out of the ledger: flows and calls."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from schemas.events import TOPICS
from worker.ledger import page_queries
from worker.ledger.browse import FlowState, Summary
from worker.ledger.database import Database, DatabaseError
from worker.ledger.story import CallSeen
from worker.operate.console.render import Renderer
from worker.operate.console.requests import choice_of, id_of, number_of, text_of, time_of
from worker.operate.console.session import ConsoleSession
from worker.operate.flow_reading import FlowFilter, newest
from worker.operate.flow_timeline import RESULTS

PAGE = 50
"""Rows of a page: what an operator looks through before asking better."""

STATES = tuple(state.value for state in FlowState)


@dataclass(frozen=True, slots=True)
class Lists:
    """Both only read."""

    database: Database
    render: Renderer

    async def flows(self, request: Request, session: ConsoleSession) -> Response:
        """The newest flows that meet the filters, or what a search finds."""
        asked = {name: text_of(request, name) for name in ("q", "call", "since", "until")}
        asked |= {"state": choice_of(request, "state", STATES), "topic": choice_of(request, "topic", TOPICS)}
        found: list[Summary] = []
        away = ""
        try:
            async with self.database.connection() as connection:
                found = await newest(connection, _filter(request, asked), PAGE + 1)
        except DatabaseError as error:
            away = error.sentence
        last = found[PAGE - 1].flow_id if len(found) > PAGE else None
        return self.render.page(
            request,
            "flows.html",
            session,
            status=503 if away else 200,
            found=found[:PAGE],
            older=_onward(asked, last),
            states=STATES,
            topics=TOPICS,
            asked=asked,
            away=away,
        )

    async def calls(self, request: Request, session: ConsoleSession) -> Response:
        """The last calls."""
        result = choice_of(request, "result", tuple(RESULTS))
        operation = text_of(request, "operation")
        found: list[CallSeen] = []
        operations: list[str] = []
        away = ""
        try:
            async with self.database.connection() as connection:
                operations = await page_queries.operations_called(connection)
                only = [operation] if operation else operations if result else []
                results = [result] if result else list(RESULTS) if operation else []
                before = number_of(text_of(request, "before"))
                found = await page_queries.calls(
                    connection, operations=only, results=results, before=before, limit=PAGE + 1
                )
        except DatabaseError as error:
            away = error.sentence
        last = found[PAGE - 1].id if len(found) > PAGE else None
        return self.render.page(
            request,
            "calls.html",
            session,
            status=503 if away else 200,
            found=found[:PAGE],
            older=_onward({"operation": operation, "result": result}, last),
            operations=sorted({*operations, *([operation] if operation else [])}),
            operation=operation,
            results=RESULTS,
            result=result,
            away=away,
        )


def _filter(request: Request, asked: dict[str, str]) -> FlowFilter:
    return FlowFilter(
        states=(FlowState(asked["state"]),) if asked["state"] else tuple(FlowState),
        topics=(asked["topic"],) if asked["topic"] else TOPICS,
        text=asked["q"],
        call=number_of(asked["call"]),
        since=time_of(asked["since"]),
        until=time_of(asked["until"]),
        before=id_of(text_of(request, "before")),
    )


def _onward(asked: dict[str, str], last: object) -> str:
    """The query of the next page, empty when there is none."""
    if last is None:
        return ""
    return urlencode({**{name: text for name, text in asked.items() if text}, "before": str(last)})
