"""All numbers: the worker's own beside a naive worker's, then a day on a virtual clock. `--only` leaves the day out."""

from __future__ import annotations

import sys

from tests.bench import day, run

if __name__ == "__main__":
    code = run.main(sys.argv[1:])
    if not any(argument.startswith("--only") for argument in sys.argv):
        day.main([])
    sys.exit(code)
