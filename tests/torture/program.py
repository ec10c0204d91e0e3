"""A member: `python -m tests.torture.program run|bridge [BREAK]`, the worker as it is, or broken on purpose."""

from __future__ import annotations

import asyncio
import sys

from tests.torture.breaks import BREAKS, NOT_BROKEN
from worker.settings import BridgeSettings, RunSettings, load
from worker.telemetry.logging import configure
from worker.wiring.bridge import run_bridge
from worker.wiring.replica import run_worker


def main() -> int:
    kind, *names = sys.argv[1:]
    for name in names:
        if name != NOT_BROKEN:
            BREAKS[name].apply()
    if kind == "bridge":
        settings = load(BridgeSettings)
        configure(settings.log_level, settings.log_format)
        return asyncio.run(run_bridge(settings))
    run = load(RunSettings)
    configure(run.log_level, run.log_format)
    return asyncio.run(run_worker(run))


if __name__ == "__main__":
    sys.exit(main())
