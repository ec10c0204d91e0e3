"""The health pages answer, whatever goes wrong behind them."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest

from worker.telemetry.http_server import Probes, application
from worker.telemetry.metrics import Metrics


async def _broken() -> Mapping[str, str | None]:
    raise ZeroDivisionError("a test")


async def _scrape_broken() -> None:
    raise ZeroDivisionError("a test")


@pytest.mark.parametrize(("page", "status"), [("/health/live", 200), ("/health/ready", 503), ("/metrics", 200)])
async def test_no_health_page_raises(page: str, status: int) -> None:
    """A check that fails in a way that nobody has thought of is a check that is not met, and names its error."""
    probes = Probes(lambda: None, _broken, _scrape_broken)
    transport = httpx.ASGITransport(application(probes, Metrics()))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        answer = await client.get(page)
    assert answer.status_code == status
    if status == 503:
        assert answer.json()["checks"] == {"health": "it cannot be checked (ZeroDivisionError)"}
