"""`make bench`."""

from __future__ import annotations

import sys

from tests.bench import run

if __name__ == "__main__":
    sys.exit(run.main(sys.argv[1:]))
