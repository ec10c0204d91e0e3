"""The parts of `demo`: the simulated partner in this process, the worker in another, and nothing real in either."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

import worker
from worker.commands._errors import Refused
from worker.commands.demo.samples import CATALOGUE, FAULTS, SEED
from worker.ledger import schema
from worker.sandbox import RunningSandbox, Sandbox, serve, settings_for
from worker.settings import KafkaSettings, load

READY_SECONDS = 45.0
"""A worker is ready within three seconds; a small machine that does all of this at once has taken fifteen."""

STOP_SECONDS = 10.0
"""With nothing in flight a worker stops in under a second."""

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
"""All that the worker gets of this environment: a real TRADOVATE_PASSWORD must not reach it."""

Told = Callable[[str, str], None]
"""Is told of each part that is up: its name, and where it is."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    partner: RunningSandbox
    seeded: tuple[int, ...]
    process: asyncio.subprocess.Process
    address: str
    log: Path
    settings: Mapping[str, str]

    @property
    def kafka(self) -> KafkaSettings:
        """How to reach the embedded Kafka, and nothing else."""
        return load(KafkaSettings, self.settings)

    def ended(self) -> Refused:
        """What to say of a worker that ended by itself."""
        return Refused(f"The worker of the demo ended with code {self.process.returncode}: {_last_line(self.log)}")


@asynccontextmanager
async def staged(home: Path, bootstrap_servers: str, database_url: str, told: Told) -> AsyncIterator[Stage]:
    """Starts the partner and the worker, in this order, and stops them in the other."""
    await schema.upgrade(database_url)
    told("Ledger", f"schema {schema.newest()}")
    sandbox = Sandbox()
    partner = await serve(sandbox)
    try:
        seeded = sandbox.control.seed(dict(SEED))["userIds"]
        for rule in FAULTS:
            sandbox.core.faults.add(rule)
        told("Tradovate", f"simulated, {partner.url}")
        settings = _settings(home, partner, bootstrap_servers, database_url)
        async with _worker(home, settings) as (process, address, log):
            stage = Stage(partner, tuple(seeded), process, address, log, settings)
            await _ready(stage)
            told("Worker", address)
            yield stage
    finally:
        await partner.stop()


def _settings(home: Path, partner: RunningSandbox, bootstrap_servers: str, database_url: str) -> dict[str, str]:
    catalogue = home / "products.toml"
    catalogue.write_text(CATALOGUE, encoding="utf-8")
    return {
        **settings_for(partner),
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "DATABASE_URL": database_url,
        "SECRET_KEY": secrets.token_hex(32),
        "PRODUCTS_FILE": str(catalogue),
        "HTTP_PORT": "0",
        # The simulator's effects are made at once: a look-up need not wait the fifteen seconds of the real one.
        "TRADOVATE_SETTLE_SECONDS": "0.5",
        "UNKNOWN_WAIT_SECONDS": "5",
    }


@asynccontextmanager
async def _worker(
    home: Path, settings: Mapping[str, str]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, Path]]:
    log, empty = home / "worker.log", home / "empty"
    empty.mkdir()
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    source = str(Path(worker.__path__[0]).parent)
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "worker.commands._replica",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=said,
            cwd=empty,
            env={**kept, "PYTHONPATH": source, **settings},
            start_new_session=True,  # Ctrl-C is for this program; it stops the worker in its turn
        )
    try:
        assert process.stdout is not None
        line = ""
        async with asyncio.timeout(READY_SECONDS):
            line = (await process.stdout.readline()).decode().strip()
        if not line:
            await process.wait()
            raise Refused(f"The worker of the demo did not start: {_last_line(log)}")
        yield process, line, log
    except TimeoutError:
        raise Refused(f"The worker of the demo did not start within {READY_SECONDS:.0f} s.") from None
    finally:
        await _stop(process)


async def _ready(stage: Stage) -> None:
    async with httpx.AsyncClient(base_url=stage.address, trust_env=False, timeout=5) as client:
        async with asyncio.timeout(READY_SECONDS):
            while stage.process.returncode is None:
                try:
                    if (await client.get("/health/ready")).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
    raise stage.ended()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    try:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except ProcessLookupError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing."
