"""`python -m worker.sandbox`: print the settings that fit, then serve until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from worker.sandbox import FaultError, FaultFile, Sandbox, SandboxConfig, SwitchError, read_faults, serve, settings_for
from worker.sandbox.config import with_switches


async def run(host: str, port: int, faults: FaultFile) -> None:
    """Serve until the process is asked to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    sandbox = Sandbox(with_switches(SandboxConfig(), faults.switches))
    for rule in faults.faults:
        sandbox.core.faults.add(rule)
    running = await serve(sandbox, host, port)
    lines = "".join(f"{name}={value}\n" for name, value in settings_for(running).items())
    sys.stdout.write(lines)
    sys.stdout.flush()
    await stop.wait()
    await running.stop()


def main() -> int:
    """Return 0 when stopped, 1 when the port is taken, 2 when the faults file cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m worker.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765, help="0 takes a free one")
    parser.add_argument("--faults", type=Path, help="JSON or TOML: switches and fault rules")
    arguments = parser.parse_args()
    try:
        faults = read_faults(arguments.faults) if arguments.faults else FaultFile([], {})
        asyncio.run(run(arguments.host, arguments.port, faults))
    except (FaultError, SwitchError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
