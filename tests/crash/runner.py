"""One replica as `run` starts it, that may end or freeze itself: `python -m tests.crash.runner [point:n[:SIGNAL]]`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable

from worker.settings import RunSettings, load
from worker.telemetry.logging import configure
from worker.wiring.replica import run_worker


def killer(where: str) -> Callable[[str], None]:
    """What sends this process a signal (SIGKILL if not said otherwise) when it comes by a point for the n-th time. With
    HANG it begins there to wait for a thread that nothing can end, as one that looks up a name may be.
    """
    point, number, *named = where.split(":")
    hits: Counter[str] = Counter()

    def crash(at: str) -> None:
        hits[at] += 1
        if at == point and hits[at] == int(number) and named == ["HANG"]:
            asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
        elif at == point and hits[at] == int(number):
            os.kill(os.getpid(), signal.Signals[named[0]] if named else signal.SIGKILL)

    return crash


def main() -> int:
    settings = load(RunSettings)
    configure(settings.log_level, settings.log_format)
    if len(sys.argv) > 1:
        return asyncio.run(run_worker(settings, crash=killer(sys.argv[1])))
    return asyncio.run(run_worker(settings))


if __name__ == "__main__":
    sys.exit(main())
