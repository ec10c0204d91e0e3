"""The worker or the bridge of `demo`, in a process of its own: settings from its environment alone, no files.

It ends when its standard input does, so that it never outlives the program that started it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine

from worker.errors import OperatorError
from worker.process.exit_deadline import exit_at_the_latest
from worker.settings import BridgeSettings, RunSettings, load
from worker.telemetry.logging import configure


async def run(name: str) -> int:
    """Runs it until a signal comes or standard input ends; prints its address when it listens."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), lambda: _at_end(stopping))
    return await _program(name, dict(os.environ), stopping)


def _program(name: str, environment: dict[str, str], stopping: asyncio.Event) -> Coroutine[None, None, int]:
    """`run_worker` or `run_bridge`; the other one's imports are not waited for."""
    if name == "worker":
        from worker.wiring.replica import run_worker  # noqa: PLC0415

        settings = load(RunSettings, environment)
        configure(settings.log_level, settings.log_format)
        return run_worker(settings, ready=_listens, stopping=stopping)
    from worker.wiring.bridge import run_bridge  # noqa: PLC0415

    given = load(BridgeSettings, environment)
    configure(given.log_level, given.log_format)
    return run_bridge(given, ready=_listens, stopping=stopping)


def _listens(address: str) -> None:
    print(address, flush=True)


def _at_end(stopping: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        exit_at_the_latest(0)
        stopping.set()


def main() -> int:
    """The exit code."""
    try:
        return asyncio.run(run(sys.argv[1]))
    except OperatorError as error:
        print(error.sentence, file=sys.stderr)
        return error.code


if __name__ == "__main__":
    sys.exit(main())
