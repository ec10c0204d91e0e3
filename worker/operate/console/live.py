"""The first page, and its parts as server-sent events: each is sent when it has changed, and only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from worker.ledger.database import DatabaseError
from worker.operate.console.first_page import Glance, Overview
from worker.operate.console.headline import Headline, Level, Remark
from worker.operate.console.render import Renderer
from worker.operate.console.session import ConsoleSession

PARTS = ("headline", "clock", "flows", "oldest", "chart", "budget", "holds", "partner", "present", "kafka")
"""The parts of the page, each a template and an event of that name."""

MOST_WATCHERS = 100
"""Pages that one replica keeps live; the next one is asked to try again later."""

_PING = 15.0
"""Seconds of silence after which a comment goes out: proxies cut what is silent for longer."""


@dataclass(slots=True)
class Live:
    """`stopping` ends every stream, so that no open page holds up the end of the program."""

    overview: Overview
    render: Renderer
    stopping: asyncio.Event
    watchers: int = 0

    async def page(self, request: Request, session: ConsoleSession) -> Response:
        """The first page; with the database away it says that, and comes alive when it is back."""
        glance, headline = await self._look()
        return self.render.page(request, "overview.html", session, glance=glance, headline=headline)

    async def events(self, _request: Request, session: ConsoleSession) -> Response:
        """The stream of what changes."""
        if self.watchers >= MOST_WATCHERS:
            return Response("Too many pages are open.", 503, {**self.render.headers, "retry-after": "30"})
        self.watchers += 1
        headers = {**self.render.headers, "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(session), media_type="text/event-stream", headers=headers)

    async def _look(self) -> tuple[Glance | None, Headline]:
        try:
            glance = await self.overview()
        except DatabaseError as error:
            return None, Headline(Level.BAD, Remark(f"Everything waits for the database. {error.sentence}"))
        return glance, glance.headline

    async def _stream(self, session: ConsoleSession) -> AsyncIterator[str]:
        shown: dict[str, str] = {}
        spoken = time.monotonic()
        try:
            yield "retry: 2000\n\n"
            while not self.stopping.is_set() and time.time() < session.until:
                for part, text in (await self._parts()).items():
                    if shown.get(part) != text:
                        shown[part] = text
                        spoken = time.monotonic()
                        yield _event(part, text)
                if time.monotonic() - spoken > _PING:
                    spoken = time.monotonic()
                    yield ": still here\n\n"
                try:
                    async with asyncio.timeout(1.0):
                        await self.stopping.wait()
                except TimeoutError:
                    continue
        finally:
            self.watchers -= 1

    async def _parts(self) -> dict[str, str]:
        glance, headline = await self._look()
        parts = PARTS if glance is not None else PARTS[:1]
        return {
            part: self.render.text(f"overview/{part}.html", glance=glance, headline=headline, session=None)
            for part in parts
        }


def _event(name: str, text: str) -> str:
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"event: {name}\n{lines}\n"
