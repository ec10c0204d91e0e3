"""A bridge that ends or freezes itself: `python -m tests.support.bridge_runner point:n[:SIGNAL]`."""

from __future__ import annotations

import asyncio
import sys

from tests.crash.runner import killer
from worker.bridge.compose import run_bridge
from worker.ops.logging import configure
from worker.settings import BridgeSettings, load


def main() -> int:
    settings = load(BridgeSettings)
    configure(settings.log_level, settings.log_format)
    return asyncio.run(run_bridge(settings, crash=killer(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
