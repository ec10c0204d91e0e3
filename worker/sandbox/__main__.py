"""`python -m worker.sandbox`: print the settings that fit, then serve until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from worker.errors import SandboxError
from worker.sandbox import FaultFile, read_faults, run_standalone


def main() -> int:
    """Return 0 when stopped, 1 when the port is taken, 2 when the faults file cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m worker.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765, help="0 takes a free one")
    parser.add_argument("--faults", type=Path, help="JSON or TOML: switches and fault rules")
    arguments = parser.parse_args()
    try:
        faults = read_faults(arguments.faults) if arguments.faults else FaultFile([], {})
        asyncio.run(run_standalone(arguments.host, arguments.port, faults))
    except SandboxError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
