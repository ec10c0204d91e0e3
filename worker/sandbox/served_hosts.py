"""Where each domain is served: an organization may move, and the host that it left then answers as a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.sandbox.responses import Reply, raw

if TYPE_CHECKING:
    from worker.sandbox.config import SandboxConfig
    from worker.sandbox.operation import Domain

__all__ = ["Arrival", "Places"]

OTHERS = {
    "mdLive": "md.tradovateapi.com",
    "mdDemo": "md-demo.tradovateapi.com",
    "replay": "replay.tradovateapi.com",
    "reportingLive": "rpt-live.tradovateapi.com",
    "reportingDemo": "rpt-demo.tradovateapi.com",
    "adminLive": "admin-live.tradovateapi.com",
    "adminDemo": "admin-demo.tradovateapi.com",
    "mdAdminLive": "md-admin-live.tradovateapi.com",
    "mdAdminDemo": "md-admin-demo.tradovateapi.com",
    "riskMonitorLive": "risk-monitor-api-live.ninjatrader.com",
    "riskMonitorDemo": "risk-monitor-api-demo.ninjatrader.com",
    "userContext": "user-context-api.ninjatrader.com",
}
"""Hosts of what the sandbox does not serve, as the partner returns them to an administrator."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a call reached the sandbox: the port that it came in by, and the host as the caller wrote it."""

    port: int | None = None
    host: str = ""
    scheme: str = "http"

    @property
    def name(self) -> str:
        """The caller's name for this machine, without port."""
        name, colon, port = self.host.rpartition(":")
        return name if colon and port.isdigit() else self.host


@dataclass(slots=True)
class Places:
    """The domains that have moved, each with its port. `opener` opens a port (0: any free one) and returns it; only a
    sandbox that is served has one.
    """

    ports: dict[Domain, int] = field(default_factory=dict)
    first: int | None = None
    """The port at the start, which serves the domains that have not moved."""
    opener: Callable[[int], int] | None = None

    def move(self, domain: Domain, port: int = 0) -> int:
        """Serve a domain on another port from now on, and return it.

        :raises ValueError: this sandbox is not served on ports.
        :raises OSError: the port is taken by another program.
        """
        if self.opener is None:
            raise ValueError("only a sandbox that is served on a port can move")
        self.ports[domain] = self.opener(port)
        return self.ports[domain]

    def wrong(self, domain: Domain, arrival: Arrival) -> bool:
        """Say whether a call of this domain came to a host that does not serve it."""
        return self.first is not None and arrival.port != self.ports.get(domain, self.first)

    def answer(self, config: SandboxConfig, domain: Domain, arrival: Arrival, target: str) -> Reply:
        """Return what the wrong host answers (hosts page): a redirect to `target` at the right one, or no body."""
        if config.wrong_host != "redirect":
            return raw(int(config.wrong_host))
        location = f"{arrival.scheme}://{self._host(domain, arrival)}{target}"
        return Reply(status=307, body=b"", headers=(("location", location),), failed=True)

    def api_hosts(self, config: SandboxConfig, arrival: Arrival | None) -> dict[str, Any]:
        """Return `apiHosts` of login and renewal, empty when the switch says that they are not returned."""
        if config.api_hosts == "never" or (config.api_hosts == "moved" and not self.ports) or arrival is None:
            return {}
        own = {"live": self._host("live", arrival), "demo": self._host("demo", arrival)}
        return {"apiHosts": {**own, **OTHERS, **config.api_host_values}}

    def _host(self, domain: Domain, arrival: Arrival) -> str:
        """As the caller can reach it, by the name that the caller used."""
        port = self.ports.get(domain, self.first)
        return arrival.host if port in (None, arrival.port) else f"{arrival.name}:{port}"
