"""HTTP of `run` and `bridge`: health, metrics, the console; in the running event loop, on a port that may be free."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from worker.addresses import Network
from worker.listening import listening_socket
from worker.telemetry.metrics import Metrics
from worker.telemetry.proxies import TrustedProxies

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Probes:
    """What the health pages ask. Both answer at once from what the replica knows; `ready` maps a check to why not."""

    live: Callable[[], str | None]
    ready: Callable[[], Awaitable[Mapping[str, str | None]]]
    scrape: Callable[[], Awaitable[None]]
    details: Callable[[], Mapping[str, Any]] = dict


def application(probes: Probes, metrics: Metrics, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The ASGI application; whatever it does not know is 404."""

    async def live(_request: Request) -> Response:
        why = probes.live()
        return JSONResponse({"live": why is None, "why": why}, status_code=200 if why is None else 503)

    async def asked() -> Mapping[str, str | None]:
        try:
            return await probes.ready()
        except Exception as error:
            log.exception("health.failed")
            return {"health": f"it cannot be checked ({type(error).__name__})"}

    async def ready(_request: Request) -> Response:
        checks = await asked()
        good = all(why is None for why in checks.values())
        body = {
            "ready": good,
            "checks": {name: "ok" if why is None else why for name, why in checks.items()},
            **probes.details(),
        }
        return JSONResponse(body, status_code=200 if good else 503)

    async def scrape(_request: Request) -> Response:
        metrics.checked(await asked())
        try:
            await probes.scrape()
        except Exception:
            log.exception("metrics.failed")  # what could not be read keeps its last value
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app = Starlette(
        exception_handlers={405: _not_found},
        routes=[
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/metrics", scrape),
            *more,
        ],
    )
    app.router.redirect_slashes = False
    return app


async def _not_found(_request: Request, _error: Exception) -> Response:
    """What a page does not do is not there either (README, "Watch it": 404 for all else)."""
    return PlainTextResponse("Not Found", status_code=404)


class _Server(uvicorn.Server):
    """Leaves signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(slots=True)
class Served:
    """A running HTTP server."""

    host: str
    port: int
    _server: _Server
    _task: asyncio.Task[None]

    @property
    def address(self) -> str:
        """http://host:port"""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def stop(self) -> None:
        """Ends it within two seconds."""
        self._server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


def level_of_address(port: int) -> int:
    """The level at which the address is logged. A port that was taken as a free one (0) is logged whatever LOG_LEVEL
    is: nobody could find it otherwise.
    """
    return logging.INFO if port else max(logging.INFO, logging.getLogger().level)


async def serve(app: Starlette, host: str, port: int, proxies: Sequence[Network] = ()) -> Served:
    """Raises `OSError` when the address cannot be taken. Port 0 takes a free one. `proxies`: who may say for whom a
    request is.
    """
    listening = listening_socket(host, port)
    config = uvicorn.Config(
        TrustedProxies(app, proxies),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",  # a request for a WebSocket is a request for a page: 404, or the page
        timeout_graceful_shutdown=2,
        server_header=False,
        proxy_headers=False,  # it would trust whom FORWARDED_ALLOW_IPS names, past the settings
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn shows its start by a flag alone
        await asyncio.sleep(0.005)
    if task.done():
        task.result()
    return Served(host, listening.getsockname()[1], server, task)
