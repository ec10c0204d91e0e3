"""One open socket: frames in, frames out, and when something is due. Pure: it takes the time and keeps its output."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

import orjson

if TYPE_CHECKING:
    from worker.sandbox.config import SandboxConfig
    from worker.sandbox.operation import Domain
    from worker.sandbox.responses import Reply
    from worker.sandbox.sessions import Token

__all__ = ["Asked", "Output", "SocketConnection"]

CLOSE_CODE = 3000
"""The close code of the vendor's example; which ones are really used is not said."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the client: four fields, each on its own line."""

    request_id: int
    path: str
    query: dict[str, str]
    raw_query: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Output:
    """What the edge does next: send a text frame, close with a code, or cut the connection."""

    kind: Literal["send", "close", "cut"]
    text: str = ""
    code: int = 1000


@dataclass(slots=True)
class SocketConnection:
    """The state of one socket, from its open frame on (WebSocket pages)."""

    number: int
    domain: Domain
    last_received: float
    last_sent: float
    token: Token | None = None
    synced: bool = False
    entity_types: frozenset[str] = frozenset()
    shard: tuple[str, int, int] | None = None
    forgotten: bool = False
    over: bool = False
    outputs: deque[Output] = field(default_factory=deque)
    on_output: Callable[[], None] = lambda: None

    # -- out -------------------------------------------------------------------------------------------------

    def push(self, text: str) -> None:
        if not self.over:
            self.outputs.append(Output("send", text))
            self.on_output()

    def close(self, reason: str, *, shutdown: dict[str, Any] | None = None) -> None:
        """Close gracefully: a shutdown event if there is one, then the `c` frame."""
        if self.over:
            return
        if shutdown is not None:
            self.push("a" + orjson.dumps([{"e": "shutdown", "d": shutdown}]).decode())
        self.push("c" + orjson.dumps([CLOSE_CODE, reason]).decode())
        self._end(Output("close", reason, CLOSE_CODE))

    def cut(self) -> None:
        """End without a frame more; what was not sent yet is lost."""
        if not self.over:
            self.outputs.clear()
            self._end(Output("cut"))

    def _end(self, output: Output) -> None:
        self.over = True
        self.outputs.append(output)
        self.on_output()

    def take(self, config: SandboxConfig, now: float) -> list[Output]:
        """Return what is to be done now, heartbeat and end for silence included."""
        if not self.over and now - self.last_received >= config.idle_seconds:
            self.close("Idle")
        if not self.over and not self.outputs and now - self.last_sent >= config.heartbeat_seconds:
            self.push("h")
        taken = list(self.outputs)
        self.outputs.clear()
        if config.socket_silent:
            taken = [output for output in taken if output.kind != "send"]
            self.last_sent = now
        if taken:
            self.last_sent = now
        return taken

    def due_in(self, config: SandboxConfig, now: float) -> float:
        """Return the seconds until `take` has something to say by itself."""
        beat = self.last_sent + config.heartbeat_seconds - now
        idle = self.last_received + config.idle_seconds - now
        return max(0.0, min(beat, idle))

    # -- in --------------------------------------------------------------------------------------------------

    def hear(self, text: str, now: float) -> Asked | None:
        """Take one text frame; return the request in it, if it is one. A heartbeat is `[]`."""
        self.last_received = now
        endpoint, *rest = text.split("\n", 3)
        if not rest:
            return None
        raw_id, query, body = [*rest, "", ""][:3]
        try:
            request_id = int(raw_id)
        except ValueError:
            return None
        path = "/" + endpoint.strip().strip("/").lower()
        content = body.encode()
        if path == "/authorize":
            content = orjson.dumps({"token": _token_in(body)})
        return Asked(request_id, path, dict(parse_qsl(query, keep_blank_values=True)), query.encode(), content)

    def respond(self, request_id: int, reply: Reply, between: list[str]) -> None:
        """Answer a request; a split answer goes out in several messages with the same id, events in between."""
        if reply.connection == "cut":
            self.cut()
        if reply.connection != "answer":
            return
        if reply.parts is None:
            self.push(_message(request_id, reply))
            return
        for at, part in enumerate(reply.parts):
            self.push("a" + orjson.dumps([{"i": request_id, "s": 200, "d": part}]).decode())
            if at < len(reply.parts) - 1 and at < len(between):
                self.push(between[at])


def _token_in(body: str) -> str:
    """Read the token as all official code sends it, or out of an object as one page shows."""
    text = body.strip()
    if text.startswith("{"):
        try:
            return str(orjson.loads(text).get("token", ""))
        except orjson.JSONDecodeError:
            return ""
    return text


def _message(request_id: int, reply: Reply) -> str:
    message: dict[str, Any] = {"s": reply.status, "i": request_id}
    if reply.body is None:
        if reply.data is not None:
            message["d"] = reply.data
    elif reply.body:
        try:
            message["d"] = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            message["d"] = reply.body.decode(errors="replace")
    return "a" + orjson.dumps([message]).decode()
