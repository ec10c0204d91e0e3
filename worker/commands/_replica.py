"""The worker of `demo`, in a process of its own: settings from its environment alone, no `.env`, no secrets' files.

It ends when its standard input does, so that it never outlives the program that started it.
"""

from __future__ import annotations

import asyncio
import os
import sys

from worker.bootstrap import run_worker
from worker.ops.logging import configure
from worker.settings import RunSettings, load
from worker.starting import StartRefused


async def run(settings: RunSettings) -> int:
    """Runs a replica until a signal comes or standard input ends; prints its address when it listens."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), lambda: _at_end(stopping))
    return await run_worker(settings, ready=lambda address: print(address, flush=True), stopping=stopping)


def _at_end(stopping: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stopping.set()


def main() -> int:
    """The exit code."""
    settings = load(RunSettings, dict(os.environ))
    configure(settings.log_level, settings.log_format)
    try:
        return asyncio.run(run(settings))
    except StartRefused as refusal:
        print(refusal, file=sys.stderr)
        return refusal.code


if __name__ == "__main__":
    sys.exit(main())
