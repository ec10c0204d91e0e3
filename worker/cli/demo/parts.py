"""The parts of `demo`: the simulated partner in this process, worker and bridge in others, and nothing real in any."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

import worker as package
from worker.cli.demo.desk import Desk
from worker.cli.demo.part_failed import DemoFailed, PartFault
from worker.cli.demo.purchases import CATALOGUE, FAULTS, SEED
from worker.ledger import schema
from worker.ledger.database import Database
from worker.sandbox import RunningSandbox, Sandbox, serve, settings_for
from worker.settings import KafkaSettings, load

READY_SECONDS = 45.0
"""A worker is ready within three seconds; a small machine that does all of this at once has taken fifteen."""

STOP_SECONDS = 10.0
"""With nothing in flight a worker stops in under a second."""

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
"""All that worker and bridge get of this environment: a real TRADOVATE_PASSWORD must not reach it."""

Report = Callable[[str, str], None]
"""Called for each part that is up: its name, and where it is."""


@dataclass(frozen=True, slots=True)
class DemoPart:
    """A program of ours in a process of its own: `run` or `bridge`."""

    name: str
    process: asyncio.subprocess.Process
    address: str
    log: Path

    def ended(self) -> DemoFailed:
        """When it ended by itself."""
        return DemoFailed(self.name, PartFault.ENDED, _last_line(self.log), self.process.returncode)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    partner: RunningSandbox
    seeded: Mapping[str, Sequence[int]]
    worker: DemoPart
    bridge: DemoPart
    desk: Desk
    settings: Mapping[str, str]

    @property
    def kafka(self) -> KafkaSettings:
        """How to reach the embedded Kafka, and nothing else."""
        return load(KafkaSettings, self.settings)

    async def ends(self) -> None:
        """Raises `CommandRefused` when the worker or the bridge ends by itself."""
        waits = {asyncio.create_task(part.process.wait()): part for part in (self.worker, self.bridge)}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        raise waits[done.pop()].ended()


@asynccontextmanager
async def staged(home: Path, bootstrap_servers: str, database_url: str, report: Report) -> AsyncIterator[Stage]:
    """Starts the partner, the worker and the bridge, in this order, and stops them in the other."""
    await schema.upgrade(database_url)
    report("Ledger", f"schema {schema.newest()}")
    sandbox = Sandbox()
    partner = await serve(sandbox)
    database = Database(database_url, size=4)
    try:
        seeded = sandbox.control.seed(dict(SEED))
        for rule in FAULTS:
            sandbox.core.faults.add(rule)
        report("Tradovate", f"simulated, {partner.url}")
        settings = _settings(home, partner, bootstrap_servers, database_url)
        (home / "empty").mkdir()
        # Both at once: on a small machine each takes seconds for its imports alone.
        async with _started("worker", home, settings) as worker, _started("bridge", home, settings) as bridge:
            stage = Stage(partner, seeded, await worker, await bridge, Desk(sandbox, database), settings)
            async with httpx.AsyncClient(trust_env=False, timeout=15) as client:
                await _ready(client, stage.worker)
                report("Worker", stage.worker.address)
                await _signed_in(client, stage)
                report("Console", f"{stage.worker.address}/")
                await _ready(client, stage.bridge)
                report("Bridge", stage.bridge.address)
            try:
                yield stage
            finally:
                for part in (stage.worker, stage.bridge):  # both at the same time: each needs some seconds to end
                    _ask_to_stop(part.process)
    finally:
        await database.close()
        await partner.stop()


def _settings(home: Path, partner: RunningSandbox, bootstrap_servers: str, database_url: str) -> dict[str, str]:
    catalogue = home / "products.toml"
    catalogue.write_text(CATALOGUE, encoding="utf-8")
    return {
        **settings_for(partner),
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "DATABASE_URL": database_url,
        "SECRET_KEY": secrets.token_hex(32),
        "CONSOLE_TOKEN": secrets.token_urlsafe(16),
        "PRODUCTS_FILE": str(catalogue),
        "HTTP_PORT": "0",
        # The simulator's effects are made at once: a look-up need not wait the fifteen seconds of the real one.
        "TRADOVATE_SETTLE_SECONDS": "0.5",
    }


@asynccontextmanager
async def _started(
    name: str, home: Path, settings: Mapping[str, str]
) -> AsyncIterator[Coroutine[None, None, DemoPart]]:
    """Starts `run` or `bridge`; what comes is to be awaited once, and is the part when it listens."""
    log = home / f"{name}.log"
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "worker.cli._demo_process",
            name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=said,
            cwd=home / "empty",
            env={**kept, "PYTHONPATH": str(Path(package.__path__[0]).parent), **settings},
            start_new_session=True,  # Ctrl-C is for this program; it stops the parts in its turn
        )
    listening = _listening(name, process, log)
    try:
        yield listening
    finally:
        listening.close()
        await _stop(process)


async def _listening(name: str, process: asyncio.subprocess.Process, log: Path) -> DemoPart:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_SECONDS):
            line = (await process.stdout.readline()).decode().strip()
    except TimeoutError:
        raise DemoFailed(name, PartFault.LATE, number=READY_SECONDS) from None
    if not line:
        await process.wait()
        raise DemoFailed(name, PartFault.NOT_STARTED, _last_line(log))
    return DemoPart(name, process, line, log)


async def _ready(client: httpx.AsyncClient, part: DemoPart) -> None:
    """Returns when the part could work. A bridge is ready before its sockets are: what it misses, it fetches."""
    said = "nothing"
    try:
        async with asyncio.timeout(READY_SECONDS):
            while part.process.returncode is None:
                try:
                    answer = await client.get(f"{part.address}/health/ready")
                except httpx.TransportError as error:
                    said = type(error).__name__
                else:
                    if answer.status_code == httpx.codes.OK:
                        return
                    said = answer.text.strip()
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise DemoFailed(part.name, PartFault.NOT_READY, said, READY_SECONDS) from None
    raise part.ended()


async def _signed_in(client: httpx.AsyncClient, stage: Stage) -> None:
    """Sees that the console shows its first page to who has the token."""
    bearer = {"Authorization": f"Bearer {stage.settings['CONSOLE_TOKEN']}"}
    try:
        code = (await client.get(f"{stage.worker.address}/", headers=bearer)).status_code
    except httpx.TransportError as error:
        raise DemoFailed("console", PartFault.SILENT, type(error).__name__) from None
    if code != httpx.codes.OK:
        raise DemoFailed("console", PartFault.WRONG_ANSWER, number=code)


def _ask_to_stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)


async def _stop(process: asyncio.subprocess.Process) -> None:
    _ask_to_stop(process)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing."
