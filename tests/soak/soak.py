"""Signs, drops connections, and counts: what is on md.signed, how often, and how much memory the bridge takes."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.bridges import BridgeProcess, BridgeStage
from tests.support.waiting import eventually, let_time_pass
from worker.sandbox import SandboxConfig

SYNCS = 200
"""Connections an hour that the soak's drops may cost: the vendor allows 300 sync requests in a rolling hour."""

LEAST_PAUSE = 2.0
"""Seconds between drops on the average: a socket needs one to come back."""

USERS = 500

WEEK = 1_000
"""Signatures that the partner still shows: it archives older ones, at each week's end. Here those on Kafka already."""

QUIET = 60.0
"""Seconds for what is still missing at the end: the longest step of the back-off."""

FLAT = 0.10
"""How much more memory may be in use at the end than after a quarter of the time."""

CONFIG = SandboxConfig(signal_repeats=1)


@dataclass(slots=True)
class Report:
    """What came of it."""

    signatures: int = 0
    seconds: float = 0.0
    drops: int = 0
    connections: int = 0
    fetches: int = 0
    logins: int = 0
    calls: int = 0
    missing: int = 0
    doubled: int = 0
    took: list[float] = field(default_factory=list)
    """Seconds from each signature to its record, sorted."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the start, MiB of the working bridge."""

    @property
    def settled(self) -> float:
        """MiB after a quarter of the time: the highest of the second quarter."""
        return self._highest(0.25, 0.5)

    @property
    def at_last(self) -> float:
        """MiB at the end: the highest of the last quarter."""
        return self._highest(0.75, 1.0)

    @property
    def good(self) -> bool:
        """Each signature once, and memory flat."""
        return not self.missing and not self.doubled and self.at_last <= self.settled * (1 + FLAT)

    def _highest(self, since: float, until: float) -> float:
        ends = self.memory[-1][0] if self.memory else 0.0
        return max((mib for at, mib in self.memory if since * ends <= at <= until * ends), default=0.0)

    def lines(self) -> list[str]:
        """For people."""
        of, once = len(self.took), self.signatures - self.missing - self.doubled
        p50, p99, most = (self.took[min(of - 1, int(of * part))] if of else 0.0 for part in (0.5, 0.99, 1.0))
        return [
            f"signatures         {self.signatures} in {self.seconds:.0f} s",
            f"on md.signed       once {once}, twice or more {self.doubled}, missing {self.missing}",
            f"connections        {self.connections}, {self.drops} dropped at random",
            f"fetches            {self.fetches}",
            f"calls, logins      {self.calls}, {self.logins}",
            f"signature to Kafka p50 {p50 * 1000:.0f} ms, p99 {p99:.2f} s, longest {most:.2f} s",
            f"memory             {self.settled:.1f} MiB after a quarter, {self.at_last:.1f} MiB at the end",
            "good" if self.good else "NOT GOOD",
        ]


async def soak(
    stage: BridgeStage, signatures: int, seconds: float, seed: int, say: Callable[[str], None] = lambda _line: None
) -> Report:
    """Runs two bridges on the stage; about `signatures` come evenly over `seconds`."""
    dice = random.Random(seed)
    report = Report(signatures=signatures)
    leader = await stage.leader()
    await stage.standby()
    users = stage.users(USERS)
    signed_at: dict[int, float] = {}
    began = time.monotonic()
    # A drop costs four thirds of a connection: one socket, the other, or both.
    pause = max(LEAST_PAUSE, min(seconds, 3600.0) * 4 / 3 / SYNCS)
    next_drop = began + pause
    next_word = began + 30.0
    next_look = began
    while len(signed_at) < signatures:
        now = time.monotonic()
        wanted = min(signatures, int(signatures * (now - began) / seconds) + 1) - len(signed_at)
        for signal in stage.sign(*dice.choices(users, k=wanted)) if wanted else ():
            signed_at[signal] = time.time()
        if now >= next_drop:
            report.drops += stage.partner.sandbox.core.hub.drop(dice.choice(["live", "demo", None]))
            next_drop = now + pause * 2 * dice.random()
            stage.partner.sandbox.core.world.archived_signals.update(sorted(stage.times())[:-WEEK])
        if now >= next_look:
            next_look = now + 0.5
            report.memory.append((now - began, _mib(leader)))
        if now >= next_word:
            next_word += 30.0
            say(f"{now - began:5.0f} s  {len(signed_at)} signed, {len(stage.records)} on Kafka, {_mib(leader):.0f} MiB")
        await let_time_pass(0.02)
    report.seconds = time.monotonic() - began
    await eventually(lambda: _missing(signed_at, stage) == 0 or time.monotonic() - began > seconds + QUIET, QUIET + 30)
    report.memory.append((time.monotonic() - began, _mib(leader)))
    times = Counter({signal: count for signal, count in stage.times().items() if signal in signed_at})
    report.missing = _missing(signed_at, stage)
    report.doubled = sum(count > 1 for count in times.values())
    report.connections = stage.sockets["authorized"]
    report.fetches = stage.count("/adminalertsignal/deps")
    report.calls = stage.partner.sandbox.core.calls.total
    report.logins = stage.sessions["logins"]
    heard = zip(stage.published(), (record.timestamp / 1000 for record in stage.records), strict=True)
    report.took = sorted(max(0.0, at - signed_at[body["signalId"]]) for body, at in heard)
    assert leader.returncode is None, leader.stderr[-2000:]
    return report


def _missing(signed_at: dict[int, float], stage: BridgeStage) -> int:
    return len(signed_at.keys() - stage.times().keys())


def _mib(process: BridgeProcess) -> float:
    """Resident memory."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
