"""The console's routes, and what they are made of. Without CONSOLE_TOKEN there is none of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from schemas.events import TOPICS, Account
from worker.dispatch.maintenance import window_end
from worker.kafka.producer import RecordProducer
from worker.ledger.budget import Budget
from worker.ledger.database import Database
from worker.ledger.host_table import DomainHost
from worker.ledger.ledger import Ledger
from worker.ledger.state_summary import standing
from worker.operate.console.dead_letter_pages import DeadLetterPages
from worker.operate.console.first_page import Kafka, Overview, kafka_offsets
from worker.operate.console.flow_pages import TITLES, FlowPages
from worker.operate.console.guard import Guard
from worker.operate.console.lists import Lists
from worker.operate.console.live import Live
from worker.operate.console.pause_pages import PausePages
from worker.operate.console.reconcile_page import ReconcilePage
from worker.operate.console.render import HEADERS, Renderer
from worker.operate.console.session import Signer
from worker.operate.console.why import CallConditions, world_of
from worker.operate.dead_letter_reading import DeadLetterReader
from worker.operate.dead_letter_settling import DeadLetterSettling
from worker.operate.event_again import EventReader
from worker.operate.flow_repair import FlowRepair
from worker.operate.holding import HoldActions
from worker.partner.operations import OPERATIONS
from worker.settings import RunSettings

CONNECTIONS = 4
"""To the database, beside the worker's own: readers of pages take none away from the work."""

_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(slots=True)
class Console:
    """`ledger`: the worker's, for its rules and keys. `in_use`: where the calls go, out of the ledger's rows. `wake`
    tells dispatch that there may be work.
    """

    settings: RunSettings
    token: str
    ledger: Ledger
    budget: Budget
    producer: RecordProducer
    stopping: asyncio.Event
    in_use: Callable[[Sequence[DomainHost]], Sequence[Any]]
    products: Mapping[str, Account] = field(default_factory=dict)
    wake: Callable[[], None] = field(default=lambda: None)
    database: Database = field(init=False)
    routes: Sequence[BaseRoute] = field(init=False)

    def __post_init__(self) -> None:
        """Ties the parts together; nothing is connected yet."""
        settings = self.settings
        self.database = Database(settings.database_url.get_secret_value(), size=CONNECTIONS)
        render = Renderer(settings.tradovate_environment.value)
        guard = Guard(Signer(self.token, [key.get_secret_value() for key in settings.secret_keys]), render)
        reader = DeadLetterReader(settings, self.database, self.ledger.vault)
        events = EventReader(settings, self.database, self.ledger.vault, self.products)
        kafka = Kafka(partial(kafka_offsets, settings))
        overview = Overview(self.database, self.budget, TOPICS, kafka, self._windows, self.in_use)
        live = Live(overview, render, self.stopping)
        render.state, guard.before = overview.state, overview.refreshed
        lists = Lists(self.database, render)
        letters = DeadLetterPages(DeadLetterSettling(reader, self.producer), kafka, render)
        flows = FlowPages(self.database, render, FlowRepair(self.ledger, events), self._world, self.wake)
        pausing = PausePages(HoldActions(self.database), render, self.wake)
        page, action = guard.page, guard.action
        dead = "/dead-letters/{topic}/{partition:int}/{offset:int}"
        self.routes = [
            Route("/sign-in", guard.sign_in_page, methods=["GET"]),
            Route("/sign-in", guard.sign_in, methods=["POST"]),
            Route("/sign-out", action(guard.sign_out), methods=["POST"]),
            Route("/static/{name}", static, methods=["GET"]),
            Route("/", page(live.page), methods=["GET"]),
            Route("/events", guard.stream(live.events), methods=["GET"]),
            Route("/flows", page(lists.flows), methods=["GET"]),
            Route("/flows/{flow_id}", page(flows.page), methods=["GET"]),
            Route("/flows/{flow_id}/story", page(flows.story), methods=["GET"]),
            *(Route(f"/flows/{{flow_id}}/{do}", page(partial(flows.ask, do)), methods=["GET"]) for do in TITLES),
            *(Route(f"/flows/{{flow_id}}/{do}", action(partial(flows.act, do)), methods=["POST"]) for do in TITLES),
            *(Route(f"/{do}", page(partial(pausing.ask, do)), methods=["GET"]) for do in ("pause", "resume")),
            *(Route(f"/{do}", action(partial(pausing.act, do)), methods=["POST"]) for do in ("pause", "resume")),
            Route("/dead-letters", page(letters.page), methods=["GET"]),
            Route("/dead-letters/{topic}/replay", page(letters.ask), methods=["GET"]),
            Route("/dead-letters/{topic}/replay", action(letters.replay_all), methods=["POST"]),
            Route(dead, page(letters.letter), methods=["GET"]),
            Route(dead, action(letters.replay), methods=["POST"]),
            Route(f"{dead}/dismiss", action(letters.dismiss), methods=["POST"]),
            Route("/calls", page(lists.calls), methods=["GET"]),
            Route("/reconcile", page(ReconcilePage(self.database, render).page), methods=["GET"]),
        ]

    async def aclose(self) -> None:
        """Lets the database go."""
        await self.database.close()

    def _windows(self, now: datetime) -> Mapping[str, datetime]:
        """The operations that wait out the partner's maintenance just now, and until when."""
        end = window_end(now) if self.settings.tradovate_maintenance else None
        return {} if end is None else {name: end for name, each in OPERATIONS.items() if each.limits.maintenance}

    async def _world(self) -> CallConditions:
        stands = await standing(self.database, self.budget)
        return world_of(stands, self._windows(stands.now))


def _assets() -> Mapping[str, tuple[bytes, str, str]]:
    """What pages need, by name: bytes, media type, tag. All of it is in the package."""
    found: dict[str, tuple[bytes, str, str]] = {}
    for path in (Path(__file__).parent / "static").iterdir():
        if path.suffix in _TYPES:
            data = path.read_bytes()
            found[path.name] = (data, _TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:16]}"')
    return found


_ASSETS = _assets()


async def static(request: Request) -> Response:
    """Style, script and icon: the sign-in page needs them too. A browser asks each time whether they have changed."""
    asset = _ASSETS.get(request.path_params["name"])
    if asset is None:
        return Response(status_code=404, headers=dict(HEADERS))
    data, media_type, tag = asset
    headers = {**HEADERS, "cache-control": "no-cache", "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)
