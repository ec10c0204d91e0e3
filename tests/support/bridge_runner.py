"""A bridge that ends or freezes itself: `python -m tests.support.bridge_runner point:n[:SIGNAL]`."""

from __future__ import annotations

import asyncio
import sys

from tests.crash.runner import killer
from worker.settings import BridgeSettings, load
from worker.telemetry.logging import configure
from worker.wiring.bridge import run_bridge


def main() -> int:
    settings = load(BridgeSettings)
    configure(settings.log_level, settings.log_format)
    return asyncio.run(run_bridge(settings, crash=killer(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
