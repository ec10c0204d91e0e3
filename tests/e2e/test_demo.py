"""`demo`, as a newcomer runs it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

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
}
"""Settings that would break the demo, or let it touch something real, if it read any."""


def homes() -> set[str]:
    """Temporary directories of demos."""
    return {place.name for place in Path(tempfile.gettempdir()).glob("tradovate-demo-*")}


def test_every_sample_gets_its_outcome() -> None:
    """With nothing but Python, and whatever settings are around, every event gets its outcome: exit 0, plain lines."""
    before = homes()
    with worker("demo", "--events", "50", env=TRAPS) as process:
        code = process.wait(58)
        assert code == 0, process.stdout[-3000:] + process.stderr[-3000:]
        assert process.stderr == ""
        assert "\x1b" not in process.stdout
        assert "50 of 50 plain purchases are done" in process.stdout
        assert "each effect was made once" in process.stdout
    assert homes() <= before


@pytest.mark.parametrize(("end", "code"), [("interrupt", 130), ("terminate", 0)])
def test_it_is_left_running_until_it_is_ended(end: str, code: int) -> None:
    """`--keep` prints addresses that the other commands take; Ctrl-C (130) or SIGTERM ends it and all its parts."""
    before = homes()
    with worker("demo", "--keep") as process:
        eventually_sync(lambda: "Ctrl-C ends it." in process.stdout or process.returncode is not None, 55)
        exported = [line.removeprefix("export ") for line in process.stdout.splitlines() if line.startswith("export ")]
        env = {name: text.strip("'") for name, _, text in (line.partition("=") for line in exported)}
        with worker("db", "status", env=env) as status:
            assert status.wait() == 0
        with worker("watch", "--from-start", "--count", "1", "--json", env=env) as watch:
            assert watch.wait() == 0
        getattr(process, end)()
        assert process.wait() == code
        assert process.stderr == ""
    assert homes() <= before


@pytest.mark.parametrize("after", ["up     PostgreSQL", "up     Tradovate", "Events in"])
def test_ctrl_c_at_any_moment_leaves_nothing(after: str) -> None:
    """Interrupted in the middle of any of its steps it ends with 130, without a traceback, and leaves nothing."""
    before = homes()
    with worker("demo") as process:
        eventually_sync(lambda: after in process.stdout, 50)
        process.interrupt()
        assert process.wait() == 130
        assert process.stderr == ""
    assert homes() <= before
