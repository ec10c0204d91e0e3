"""Who listens: the open sockets of both domains, and the events that they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.sandbox.config import SandboxConfig
    from worker.sandbox.operation import Domain
    from worker.sandbox.world import Row

__all__ = ["Hub"]


class Hub:
    """The open sockets."""

    def entity(
        self, config: SandboxConfig, domain: Domain, entity_type: str, event_type: str, row: Row, now: float
    ) -> None:
        """Tell every socket that asked for this kind of entity."""
