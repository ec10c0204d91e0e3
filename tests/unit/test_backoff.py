"""Back-off: what it promises, and that one module computes it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worker
from worker.backoff import Delays, Schedule, draw_of, spread

_WORKER = Path(worker.__file__).parent
_DRAWS = {
    "backoff.py": "the one place",
    "dispatch/caller.py": "one draw for all steps of a call, which it passes to the schedule",
}
"""Who draws a random number, apart from the sandbox: it misbehaves at random."""

_COUNTS = {"partner/observed_forms.py"}
"""What is doubled there is no delay, but a number of reads."""


@given(st.integers(-1, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 5))
def test_a_delay_is_within_its_limits(attempt: int, jitter: float, drawn: float, least: float) -> None:
    """No attempt waits longer than the cap and the least delay together, or less than jitter allows."""
    schedule = Schedule(base=0.2, cap=5.0, jitter=jitter, least=least)
    longest = least + min(5.0, 0.2 * 2.0 ** min(max(attempt, 1) - 1, 62))
    assert least + (longest - least) * (1 - jitter) - 1e-9 <= schedule.delay(attempt, lambda: drawn) <= longest + 1e-9


def test_delays_double_up_to_the_cap() -> None:
    """Without jitter: 1, 2, 4, ... seconds, then the cap."""
    schedule = Schedule(base=1.0, cap=60.0, jitter=0.0)
    assert [schedule.delay(n) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_written_delays_end_with_their_last_one() -> None:
    """A written list is followed, and its last delay repeated."""
    delays = Delays((1.0, 5.0, 15.0))
    assert [delays.delay(n) for n in range(6)] == [1, 1, 5, 15, 15, 15]


@given(st.binary(max_size=16), st.integers(0, 10**6))
def test_a_draw_follows_from_its_key(key: bytes, number: int) -> None:
    """The same key and number give the same draw, in [0, 1)."""
    assert 0 <= draw_of(key, number) < 1
    assert draw_of(key, number) == draw_of(key, number)
    assert spread(60.0, 0.5, draw_of(key, number)) >= 30


@pytest.mark.parametrize("path", sorted(_WORKER.rglob("*.py")), ids=lambda path: str(path.relative_to(_WORKER)))
def test_no_other_module_computes_a_delay(path: Path) -> None:
    """Nowhere else is a number doubled by a power of two that grows, or drawn at random."""
    name = str(path.relative_to(_WORKER))
    if name.startswith("sandbox/") or name in _DRAWS:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.BinOp(left=ast.Constant(), op=ast.Pow(), right=right):
                assert isinstance(right, ast.Constant), f"line {node.lineno}: a delay belongs in backoff.py"
            case ast.BinOp(left=ast.Constant(), op=ast.LShift(), right=right) if name not in _COUNTS:
                assert isinstance(right, ast.Constant), f"line {node.lineno}: a delay belongs in backoff.py"
            case ast.Import(names=names):
                assert "random" not in {each.name for each in names}, f"line {node.lineno}: see backoff.py"
            case ast.ImportFrom(module="random"):
                pytest.fail(f"line {node.lineno}: see backoff.py")
            case _:
                pass
