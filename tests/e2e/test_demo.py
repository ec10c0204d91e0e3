"""`demo`, as a newcomer runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator

from schemas.events import TOPICS
from schemas.export import outcome_schema
from tests.support.processes import worker
from tests.support.waiting import eventually_sync

pytestmark = pytest.mark.slow

TRAPS = {
    "DATABASE_URL": "postgresql://hush:hush@127.0.0.1:1/real",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "KAFKA_TOPIC_PREFIX": "real.",
    "TRADOVATE_ENVIRONMENT": "production",
    "TRADOVATE_PASSWORD": "hush",
    "TRADOVATE_LIVE_URL": "http://127.0.0.1:1/v1",
    "HTTP_PORT": "1",
    "LOG_LEVEL": "nonsense",
    "PGHOST": "127.0.0.1",
    "PGPORT": "1",
    "PGSSLMODE": "nonsense",
}
"""Settings that would break the demo, or let it touch something real, if it read any."""


def test_every_sample_gets_its_outcome(tmp_path: Path) -> None:
    """With nothing but Python, and whatever settings are around, every event gets its outcome: exit 0, plain lines."""
    with worker("demo", "--events", "50", env={**TRAPS, "TMPDIR": str(tmp_path)}, cold=True) as process:
        code = process.wait(58)
        assert code == 0, process.stdout[-3000:] + process.stderr[-3000:]
        assert process.stderr == ""
        assert "\x1b" not in process.stdout
        assert "its token" not in process.stdout
        assert "50 of 50 plain purchases are done" in process.stdout
        assert "each effect was made once" in process.stdout
        counts = re.findall(r"(?:calls for|all) (\d+) events", process.stdout)
        assert len(counts) == 2
        assert len(set(counts)) == 1, counts
        for topic in TOPICS:
            assert f"out    {topic} " in process.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("end", "code"), [("interrupt", 130), ("terminate", 0)])
def test_it_is_left_running_until_it_is_ended(tmp_path: Path, end: str, code: int) -> None:
    """`--keep` prints addresses that the other commands take, every outcome is what its schema says, and Ctrl-C (130)
    or SIGTERM ends it and all its parts.
    """
    with worker("demo", "--keep", env={"TMPDIR": str(tmp_path)}) as process:
        eventually_sync(lambda: "Ctrl-C ends it." in process.stdout or process.returncode is not None, 55)
        exported = [line.removeprefix("export ") for line in process.stdout.splitlines() if line.startswith("export ")]
        env = {name: text.strip("'") for name, _, text in (line.partition("=") for line in exported)}
        with worker("db", "status", env=env) as status:
            assert status.wait() == 0
        with worker("watch", "--from-start", "--count", "25", "--json", env=env) as watch:
            assert watch.wait() == 0
            outcomes = [json.loads(line) for line in watch.stdout.splitlines()]
        assert {outcome["topic"] for outcome in outcomes} == set(TOPICS)
        for outcome in outcomes:
            Draft202012Validator(outcome_schema(outcome["topic"])).validate(outcome)
        console = re.search(r"The console: (http://\S+/) \(its token: (\S+)\)", process.stdout)
        assert console is not None
        page = httpx.get(f"{console[1]}flows", headers={"Authorization": f"Bearer {console[2]}"}, trust_env=False)
        assert (page.status_code, "trader.passed" in page.text) == (200, True)
        getattr(process, end)()
        assert process.wait() == code
        assert process.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", ["up     PostgreSQL", "up     Tradovate", "Events in"])
def test_ctrl_c_at_any_moment_leaves_nothing(tmp_path: Path, after: str) -> None:
    """Interrupted in the middle of any of its steps it ends with 130, without a traceback, and leaves nothing."""
    with worker("demo", env={"TMPDIR": str(tmp_path)}) as process:
        eventually_sync(lambda: after in process.stdout, 50)
        process.interrupt()
        assert process.wait() == 130
        assert process.stderr == ""
    assert list(tmp_path.iterdir()) == []
