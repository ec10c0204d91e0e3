"""What an operation of the partner is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from worker.sandbox.config import SandboxConfig
    from worker.sandbox.effects import Effects
    from worker.sandbox.fault_rules import FaultRule
    from worker.sandbox.responses import Reply
    from worker.sandbox.served_hosts import Arrival, Places
    from worker.sandbox.sessions import Sessions, Token
    from worker.sandbox.socket_connection import SocketConnection
    from worker.sandbox.sockets import Hub
    from worker.sandbox.world import World

__all__ = ["Call", "Domain", "Handler", "Operation"]

Domain = Literal["live", "demo"]


@dataclass(slots=True)
class Call:
    """One call on its way through an operation. `now` is the moment at which its effect is made."""

    config: SandboxConfig
    world: World
    effects: Effects
    sessions: Sessions
    hub: Hub
    domain: Domain
    body: dict[str, Any]
    query: dict[str, str]
    now: float
    token: Token | None = None
    connection: SocketConnection | None = None
    poison: list[FaultRule] = field(default_factory=list)
    places: Places | None = None
    arrival: Arrival | None = None


Handler = Callable[[Call], "Reply"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint. `domain` is the only one that it works on; `items` names the list that a batch carries.

    `risks`: the level of the permission class `Risks` that the API key must have for it.
    """

    handler: Handler
    domain: Domain | None = None
    public: bool = False
    items: str = ""
    writes: bool = True
    risks: Literal["", "Read", "FullAccess"] = ""
