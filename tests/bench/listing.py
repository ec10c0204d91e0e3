"""`flows list` several times in one process: `python -m tests.bench.listing TIMES` prints the milliseconds of each."""

from __future__ import annotations

import json
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from worker.cli.main import main


def listing() -> float:
    """Runs the command once; milliseconds."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        began = time.monotonic()
        code = main(["flows", "list"])
        taken = time.monotonic() - began
    if code or not out.getvalue():
        raise RuntimeError(f"flows list ended with {code}: {err.getvalue()}")
    return 1000 * taken


if __name__ == "__main__":
    listing()  # imports what it needs
    json.dump([listing() for _ in range(int(sys.argv[1]))], sys.stdout)
