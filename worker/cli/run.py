"""`run`: one worker replica."""

from __future__ import annotations

import asyncio

from worker.cli._app import example, group
from worker.settings import RunSettings, load
from worker.telemetry.logging import configure
from worker.wiring.replica import run_worker

app = group()


@app.command(epilog=example("tradovate-worker run", "HTTP_PORT=0 LOG_FORMAT=console tradovate-worker run"))
def run() -> int:
    """Run one worker replica until SIGTERM or Ctrl-C.

    It consumes events, calls Tradovate and publishes outcomes, and serves health and metrics on HTTP_PORT. Start as
    many replicas as you like: they share the work, the budget and the session. It waits while Kafka or PostgreSQL is
    away; it refuses to start on a schema that is behind or with topics missing.
    """
    settings = load(RunSettings)
    configure(settings.log_level, settings.log_format)
    return asyncio.run(run_worker(settings))
