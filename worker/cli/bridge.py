"""`bridge`: Tradovate's socket to Kafka."""

from __future__ import annotations

import asyncio

from worker.cli._app import example, group
from worker.settings import BridgeSettings, load
from worker.telemetry.logging import configure
from worker.wiring.bridge import run_bridge

app = group()


@app.command(epilog=example("tradovate-worker bridge", "HTTP_PORT=0 LOG_FORMAT=console tradovate-worker bridge"))
def bridge() -> int:
    """Bring Tradovate's alert signals to Kafka until SIGTERM or Ctrl-C.

    Every signature of the Market Data Agreement becomes one md.signed, also those of the time when nobody was
    connected; other alerts go to admin.alert. Start two: one works, the other stands by, connects nowhere, and takes
    over within 15 seconds. Serves health and metrics on HTTP_PORT.
    """
    settings = load(BridgeSettings)
    configure(settings.log_level, settings.log_format)
    return asyncio.run(run_bridge(settings))
