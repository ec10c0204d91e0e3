"""The page of the last `reconcile`: how many differences of each kind, and the list of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from worker.ledger import reconcile_results
from worker.ledger.database import Database, DatabaseError
from worker.ledger.differences import Difference, Kind
from worker.ledger.reconcile_results import RunSeen
from worker.operate.console.lists import PAGE
from worker.operate.console.render import Renderer
from worker.operate.console.requests import choice_of, number_of, text_of
from worker.operate.console.session import ConsoleSession

KINDS = tuple(kind.value for kind in Kind)


@dataclass(frozen=True, slots=True)
class ReconcilePage:
    """It only reads: a comparison costs hundreds of calls, and is started by the command."""

    database: Database
    render: Renderer

    async def page(self, request: Request, session: ConsoleSession) -> Response:
        """The counts, and the list of the kind that the request names, else of the first kind that has differences."""
        kind = choice_of(request, "kind", KINDS)
        run: RunSeen | None = None
        found: list[tuple[int, Difference]] = []
        away = ""
        try:
            async with self.database.connection() as connection:
                run = await reconcile_results.last(connection)
                if run is not None and (kind := kind or next((each for each in KINDS if run.counts.get(each)), "")):
                    after = number_of(text_of(request, "after")) or 0
                    found = await reconcile_results.differences(connection, run.id, Kind(kind), after, PAGE + 1)
        except DatabaseError as error:
            away = error.sentence
        more = found[PAGE - 1][0] if len(found) > PAGE else None
        return self.render.page(
            request,
            "reconcile.html",
            session,
            status=503 if away else 200,
            run=run,
            kinds=KINDS,
            kind=kind,
            found=[difference for _, difference in found[:PAGE]],
            further="" if more is None else urlencode({"kind": kind, "after": more}),
            away=away,
        )
