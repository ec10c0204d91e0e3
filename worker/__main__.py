"""`python -m worker` is `tradovate-worker`."""

import sys

from worker.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
