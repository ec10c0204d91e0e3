"""All open sockets: who hears of what, in which shape, and when (WebSocket pages, Market Data Agreement)."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson

from worker.sandbox.announcing import events
from worker.sandbox.risk_events import entity_of
from worker.sandbox.socket_connection import SocketConnection

if TYPE_CHECKING:
    from worker.sandbox.config import SandboxConfig
    from worker.sandbox.operation import Domain
    from worker.sandbox.sessions import Token
    from worker.sandbox.world import Row

__all__ = ["Hub"]


class Hub:
    """The open sockets of both domains, and the events that are still to come."""

    def __init__(self) -> None:
        self.connections: dict[int, SocketConnection] = {}
        self.counts: Counter[str] = Counter()
        self._made = 0
        self._alternate = 0
        self._due: list[tuple[float, int, str, tuple[list[Row], int]]] = []
        self._dice = random.Random(0)

    # -- coming and going ------------------------------------------------------------------------------------

    def open(self, domain: Domain, now: float) -> SocketConnection:
        self._made += 1
        connection = SocketConnection(self._made, domain, last_received=now, last_sent=now)
        self.connections[connection.number] = connection
        self.counts["opened"] += 1
        self.counts[f"opened_{domain}"] += 1
        connection.push("o")
        return connection

    def leave(self, connection: SocketConnection) -> None:
        self.connections.pop(connection.number, None)

    def authorize(self, config: SandboxConfig, connection: SocketConnection, token: Token) -> None:
        """Let a socket in; beyond the limit the oldest is closed and its token revoked (connection page)."""
        connection.token = token
        self.counts["authorized"] += 1
        inside = [other for other in self.connections.values() if other.token is not None and not other.over]
        for oldest in inside[: -config.max_sockets]:
            if oldest.token is not None and oldest.token is not token:
                oldest.token.revoked = True
            self.counts["over_quota"] += 1
            oldest.close("Quota", shutdown={"reasonCode": "ConnectionQuotaReached"})

    def shut_down(self, reason_code: str, reason: str | None, domain: str | None) -> int:
        shutdown = {"reasonCode": reason_code, **({"reason": reason} if reason else {})}
        return self._each(domain, lambda connection: connection.close("Go away!", shutdown=shutdown))

    def drop(self, domain: str | None = None, *, gracefully: bool = False) -> int:
        """Cut every socket of a domain, or of both."""
        return self._each(domain, lambda connection: connection.close("Go away!") if gracefully else connection.cut())

    def forget(self, domain: str) -> None:
        """Let the sockets of a domain stay open and bring nothing but heartbeats any more."""
        for connection in self.connections.values():
            if connection.domain == domain:
                connection.synced, connection.forgotten, connection.entity_types = False, True, frozenset()

    def _each(self, domain: str | None, act: Any) -> int:
        chosen = [c for c in self.connections.values() if domain in (None, c.domain) and not c.over]
        for connection in chosen:
            act(connection)
        self.counts["dropped"] += len(chosen)
        return len(chosen)

    # -- events ----------------------------------------------------------------------------------------------

    def entity(self, config: SandboxConfig, domain: Domain, entity_type: str, event_type: str, row: Row) -> None:
        """Tell every socket of the domain that asked for this kind of entity."""
        frame: str | None = None
        for connection in self.connections.values():
            if connection.domain == domain and entity_type in connection.entity_types:
                frame = frame or self.props(config, entity_type, event_type, row)
                connection.push(frame)

    def props(self, config: SandboxConfig, entity_type: str, event_type: str, entity: Row) -> str:
        """Write one `props` event, its `d` an array or an object as the switch says."""
        sent = entity_of(config, entity) if entity_type == "accountRiskStatus" else entity
        return self._framed(config, {"entityType": entity_type, "eventType": event_type, "entity": sent})

    def _framed(self, config: SandboxConfig, event: Any) -> str:
        self._alternate += 1
        if config.props_shape == "array" or (config.props_shape == "alternate" and self._alternate % 2):
            event = [event]
        return "a" + orjson.dumps([{"e": "props", "d": event}]).decode()

    def announce(self, config: SandboxConfig, signals: list[Row], now: float, *, strays: int = 0) -> None:
        """Announce admin alert signals of one moment: now or late, once or repeated, updated afterwards."""
        moments = [now + config.signal_delay] * (1 + config.signal_repeats)
        times = [(moment, "Created") for moment in moments]
        if config.signal_updates:
            times.append((moments[-1], "Updated"))
        for moment, event_type in times:
            self._made += 1
            heapq.heappush(self._due, (moment, self._made, event_type, (signals, strays)))
        self.tick(config, now)
        for connection in self.connections.values():
            connection.on_output()

    def next_due(self) -> float | None:
        return self._due[0][0] if self._due else None

    def tick(self, config: SandboxConfig, now: float) -> None:
        """Tell the sockets what is due by now."""
        while self._due and self._due[0][0] <= now:
            _, _, event_type, (signals, strays) = heapq.heappop(self._due)
            for connection in list(self.connections.values()):
                due = [signal for signal in signals if _is_of_shard(connection, signal)]
                if self._gets_signals(config, connection) and (due or strays):
                    self._tell(config, connection, event_type, due, strays)

    def _gets_signals(self, config: SandboxConfig, connection: SocketConnection) -> bool:
        if connection.over or connection.forgotten or connection.token is None:
            return False
        if config.signals_need_sync and not connection.synced:
            return False
        return config.signal_sockets in ("both", connection.domain)

    def _tell(
        self, config: SandboxConfig, connection: SocketConnection, event_type: str, signals: list[Row], strays: int
    ) -> None:
        if config.socket_drop_probability and self._dice.random() < config.socket_drop_probability:
            self.counts["cut_at_signal"] += 1
            connection.cut()
            return
        wrapped = config.signal_shape == "wrapped" or (
            config.signal_shape == "by_domain" and connection.domain == "demo"
        )
        self.counts["signals_told"] += len(signals)
        for event in events(config, event_type, signals, wrapped=wrapped, strays=strays):
            connection.push(event if isinstance(event, str) else self._framed(config, event))


def _is_of_shard(connection: SocketConnection, signal: Row) -> bool:
    if connection.shard is None:
        return True
    kind, divisor, remainder = connection.shard
    owner = signal["relatedToUserId"] if kind == "modUserId" else signal.get("relatedToAccountId", 0)
    return bool(owner % divisor == remainder)
