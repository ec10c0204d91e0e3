"""The sandbox on a real port, in the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from worker.listening import listening_socket
from worker.sandbox.http_app import CUT_EXTENSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.sandbox.http_app import Sandbox
    from worker.sandbox.operation import Domain

__all__ = ["RunningSandbox", "serve", "settings_for"]

STOP_SECONDS = 2
"""How long a stop waits for calls under way; the sandbox promises nobody an answer."""


class _HttpProtocol(H11Protocol):
    """Tells the application how to cut the connection that its call came on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = _with_cut(self.app, self)


class _SocketProtocol(WebSocketsSansIOProtocol):
    """The same for sockets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = _with_cut(self.app, self)


def _with_cut(app: Any, protocol: Any) -> Any:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("extensions", {})[CUT_EXTENSION] = protocol.transport.abort
        await app(scope, receive, send)

    return inner


class _Server(uvicorn.Server):
    """Leaves signals to the owner of the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def cut_all(self) -> None:
        for protocol in list(self.server_state.connections):
            transport = getattr(protocol, "transport", None)
            if transport is not None:
                transport.abort()


@dataclass(slots=True)
class RunningSandbox:
    """A sandbox that answers on `url` until it is stopped."""

    sandbox: Sandbox
    host: str
    port: int
    _servers: dict[int, tuple[_Server, asyncio.Task[None]]] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        return self._at(self.port)

    @property
    def live_url(self) -> str:
        return f"{self._at(self.sandbox.places.ports.get('live', self.port))}/live/v1"

    @property
    def demo_url(self) -> str:
        return f"{self._at(self.sandbox.places.ports.get('demo', self.port))}/demo/v1"

    def move(self, domain: Domain = "demo", **how: Any) -> int:
        """Serve a domain on another port from now on, and return it; see `/control/move`."""
        return int(self.sandbox.control.move({"domain": domain, **how})["port"])

    def close_port(self, port: int) -> None:
        """End a host that the organization has left: nothing answers there any more."""
        server, _ = self._servers[port]
        server.should_exit = True
        server.cut_all()

    async def stop(self) -> None:
        """End every connection and free the ports."""
        self.sandbox.stopping.set()
        for port in self._servers:
            self.close_port(port)
        await asyncio.gather(*(task for _, task in self._servers.values()))

    def open(self, port: int) -> int:
        """Serve on another port too (0: any free one), and return it.

        :raises OSError: the port is taken.
        """
        if port in self._servers:
            return port
        listener = listening_socket(self.host, port)
        server = _server(self.sandbox)
        taken = int(listener.getsockname()[1])
        task = asyncio.create_task(server.serve(sockets=[listener]), name=f"sandbox-{taken}")
        self._servers[taken] = server, task
        return taken

    def _at(self, port: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}"


async def serve(sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> RunningSandbox:
    """Start serving and return at once when the port listens; port 0 takes a free one.

    A sandbox that has moved and is served again is there again as a whole: on the one port.

    :raises OSError: the address cannot be taken.
    """
    sandbox.stopping.clear()
    running = RunningSandbox(sandbox, host, port)
    running.port = sandbox.places.first = running.open(port)
    sandbox.places.ports.clear()
    sandbox.places.opener = running.open
    server, task = running._servers[running.port]  # noqa: SLF001 - of this module
    while not server.started:
        if task.done():
            task.result()
            raise OSError(f"the sandbox could not start on {host}:{running.port}")
        await asyncio.sleep(0)
    return running


def _server(sandbox: Sandbox) -> _Server:
    return _Server(
        uvicorn.Config(
            sandbox.app,
            http=_HttpProtocol,
            ws=_SocketProtocol,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )


def settings_for(running: RunningSandbox) -> dict[str, str]:
    """Return the settings that make a worker talk to this sandbox."""
    config, world = running.sandbox.config, running.sandbox.core.world
    return {
        "TRADOVATE_LIVE_URL": running.live_url,
        "TRADOVATE_DEMO_URL": running.demo_url,
        "TRADOVATE_LIVE_WS_URL": running.live_url.replace("http", "ws", 1) + "/websocket",
        "TRADOVATE_DEMO_WS_URL": running.demo_url.replace("http", "ws", 1) + "/websocket",
        "TRADOVATE_NAME": config.name,
        "TRADOVATE_PASSWORD": config.password,
        "TRADOVATE_APP_ID": config.app_id,
        "TRADOVATE_APP_VERSION": config.app_version,
        "TRADOVATE_CID": str(config.cid),
        "TRADOVATE_SEC": config.sec,
        "TRADOVATE_DEVICE_ID": config.device_id,
        "TRADOVATE_SUBSCRIPTION_PLAN_ID": str(world.plan_id),
        "TRADOVATE_TPROP_ENTITLEMENT_ID": str(config.t_prop_entitlement_id),
        "TRADOVATE_MAINTENANCE": "off",
    }
