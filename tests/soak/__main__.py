"""`make soak`: five minutes, ten thousand signatures; ARGS="--seconds 60 --signatures 2000 --seed 7" for others."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys

from tests.soak.soak import CONFIG, Report, soak
from tests.support.bridges import BridgeStage
from tests.support.kafka import KafkaServer, why_no_java
from worker.embedded import EmbeddedKafka, EmbeddedPostgres


def main() -> int:
    """0 when each signature is on md.signed once and memory is flat, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--signatures", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    _say(f"{arguments.signatures} signatures in {arguments.seconds:.0f} s, seed {arguments.seed}")
    report = _run(arguments.signatures, arguments.seconds, arguments.seed)
    for line in report.lines():
        _say(line)
    return 0 if report.good else 1


def _run(signatures: int, seconds: float, seed: int) -> Report:
    with EmbeddedPostgres() as postgres:
        url = postgres.create_database("soak")
        if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
            return asyncio.run(_soak(BridgeStage(servers, url, CONFIG), signatures, seconds, seed))
        if why_no_java():
            with EmbeddedKafka() as broker:
                stage = BridgeStage(broker.bootstrap_servers, url, CONFIG, broker)
                return asyncio.run(_soak(stage, signatures, seconds, seed))
        server = KafkaServer().start()
        try:
            return asyncio.run(_soak(BridgeStage(server.bootstrap_servers, url, CONFIG), signatures, seconds, seed))
        finally:
            server.close()


async def _soak(stage: BridgeStage, signatures: int, seconds: float, seed: int) -> Report:
    await stage.up()
    try:
        return await soak(stage, signatures, seconds, seed, _say)
    finally:
        await stage.down()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
