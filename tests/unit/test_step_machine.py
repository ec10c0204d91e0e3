"""What comes next for a step, whatever its call or look-up says and whatever it remembers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import ErrorCode
from tests.support.halving import FLOW
from tests.unit.test_memory import MEMORIES
from worker.backoff import Schedule
from worker.engine.memory import Memory, Verifying
from worker.engine.rows import Claimed, Finish, Later, Move
from worker.engine.states import StepState
from worker.engine.steps.after_call import Sent, after_call
from worker.engine.steps.after_look_up import after_look_up
from worker.engine.steps.splitting import Signs
from worker.engine.steps.timing import StepRules, Timing
from worker.engine.steps.written import moved_step
from worker.results import CallEnd, CallResult, NotExecuted, Rejected, Result, Succeeded, Unknown

NOW = datetime(2026, 11, 18, 16, 0, tzinfo=UTC)
WAITS = st.none() | st.timedeltas(timedelta(0), timedelta(hours=1))
RESULTS: st.SearchStrategy[Result] = st.one_of(
    st.builds(Succeeded),
    st.builds(Rejected, st.text(max_size=3), st.sampled_from([*ErrorCode]), st.booleans()),
    st.builds(NotExecuted, st.text(max_size=3), WAITS),
    st.builds(Unknown, st.text(max_size=3), WAITS),
)
FOUND: st.SearchStrategy[Result] = st.one_of(
    st.builds(Succeeded),
    st.builds(Rejected, st.text(max_size=3), st.sampled_from([ErrorCode.CONFLICT, ErrorCode.NOT_FOUND])),
    st.builds(NotExecuted, others=st.lists(st.integers(1, 9), max_size=2).map(tuple)),
    st.builds(Unknown, st.text(max_size=3)),
)
RULES = st.builds(
    StepRules,
    st.just("createEvaluationAccounts"),
    looks_up=st.booleans(),
    repeatable=st.booleans(),
    batches=st.booleans(),
    retry_for=st.none() | st.just(900.0),
)
TIMINGS = st.builds(
    Timing,
    st.just(Schedule(1, 300, 86_400)),
    st.just(timedelta(seconds=15)),
    st.floats(0, 0.99),
    st.builds(Signs, st.integers(0, 9), st.integers(0, 9)),
)
SPENT = st.sampled_from([0.0, 1_000.0, 90_000.0])
UNPROVEN = (CallEnd.FAILED, CallEnd.ANSWERED)


def claimed(number: int, state: StepState, attempts: int, spent: float, memory: Memory) -> Claimed:
    return Claimed(number, "createEvaluationAccounts", state, attempts, spent, memory, None, FLOW)


def check(step: Claimed, move: Move) -> None:
    """The move is allowed, and what the step remembers of it is written and read."""
    moved = moved_step(step, move, NOW, None)
    if isinstance(move, Later):
        assert moved.due >= NOW
        assert Memory.from_json(moved.memory) == move.memory
    else:
        assert moved.memory == {}
        assert (moved.state is StepState.PARKED) == move.parked


@given(TIMINGS, RULES, st.sampled_from(CallEnd), st.lists(st.tuples(RESULTS, MEMORIES, SPENT), min_size=1, max_size=5))
def test_a_call_moves_each_of_its_steps(
    timing: Timing, rules: StepRules, end: CallEnd, items: list[tuple[Result, Memory, float]]
) -> None:
    """One allowed move for each step; without a proof none has succeeded, or is sent again unless that is safe."""
    kept = end in UNPROVEN
    results = [result if kept else NotExecuted(wait=timedelta(seconds=9)) for result, _, _ in items]
    steps = [claimed(n, StepState.IN_FLIGHT, 1, spent, memory) for n, (_, memory, spent) in enumerate(items)]
    sent = [Sent(step, parts=1, has_needs=True) for step in steps]
    moves = after_call(timing, rules, CallResult(end, results), sent, seconds=0.5, call_id=9)
    assert len(moves) == len(steps)
    for step, move, result in zip(steps, moves, results, strict=True):
        check(step, move)
        if isinstance(result, Unknown) and not rules.repeatable:
            assert isinstance(move, Finish) or move.state is StepState.UNKNOWN
        if isinstance(move, Finish) and isinstance(move.result, Succeeded):
            assert isinstance(result, Succeeded)


@given(TIMINGS, RULES, st.integers(0, 3), st.lists(st.tuples(FOUND, MEMORIES, SPENT), min_size=1, max_size=5))
def test_a_look_up_moves_each_of_its_steps(
    timing: Timing, rules: StepRules, attempts: int, items: list[tuple[Result, Memory, float]]
) -> None:
    """One allowed move for each step; only what was found has succeeded, and what is not known is not sent."""
    steps = [claimed(n, StepState.UNKNOWN, attempts, spent, memory) for n, (_, memory, spent) in enumerate(items)]
    found = [(step, result) for step, (result, _, _) in zip(steps, items, strict=True)]
    moves = after_look_up(timing, rules, found, 0.5)
    for (step, result), move in zip(found, moves, strict=True):
        check(step, move)
        needed = move.found in ("needed_there", "needed_missing") or step.memory.to_json().get("checking_needs") == {}
        if isinstance(result, Unknown) and not needed:
            assert isinstance(move, Finish) or move.state is StepState.UNKNOWN
        if isinstance(step.memory.why, Verifying) and isinstance(result, NotExecuted):
            assert isinstance(move, Finish)
            assert move.result == Rejected(step.memory.why.rejection)
