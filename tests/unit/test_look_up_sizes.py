"""How many steps are looked up together, where the budget does not allow all reads of a look-up."""

from __future__ import annotations

from itertools import product

from worker.dispatch.look_up_sizes import FEW, FEW_READS, FULL, LookUpSizes


def _reads(steps: int, cost: int, minute: int) -> int:
    """Reads until all steps are looked up, where each costs so many and a minute allows so many."""
    sizes, left, reads = LookUpSizes(), steps, 0
    while left:
        allowed = minute
        while left:
            some = min(left, sizes.of("createEvaluationUsers"))
            if cost * some > allowed:
                sizes.not_ended("createEvaluationUsers", some, allowed)
                reads += allowed
                break
            allowed -= cost * some
            reads += cost * some
            left -= some
            sizes.ended("createEvaluationUsers", some, cost * some)
    return reads


def test_what_is_read_in_vain_is_never_more_than_what_is_needed() -> None:
    """Where each step costs reads of its own and a minute allows few, look-ups become as small as a minute's budget,
    and all end: with at most twice the reads, and of many steps with half as many again.
    """
    for cost, minute in product((1, 2, 3), (20, 60, 150, 300, 540)):
        for steps, most in ((100, 2.0), (482, 1.55), (5000, 1.5)):
            assert _reads(steps, cost, minute) <= most * steps * cost


def test_look_ups_that_cost_a_call_keep_their_size() -> None:
    """What has read little has lost little: a lock-out makes no look-up smaller."""
    sizes = LookUpSizes()
    sizes.ended("createEvaluationUsers", FEW, 2)
    sizes.not_ended("createEvaluationUsers", 100, FEW_READS)
    assert sizes.of("createEvaluationUsers") == FULL


def test_few_steps_are_looked_up_until_bulk_reads_have_served() -> None:
    """What a kill costs is the reads of a few steps. A batch that was rejected as a whole is looked up as a whole."""
    sizes, name = LookUpSizes(), "createEvaluationUsers"
    assert sizes.of(name) == FEW
    assert sizes.of(name, rejected_batch=True) == FULL
    sizes.ended(name, 1, 1)
    assert sizes.of(name) == FEW
    sizes.ended(name, FEW, 4)
    assert sizes.of(name) == FULL
    sizes.ended(name, 3, 3)  # few steps show nothing
    assert sizes.of(name) == FULL
    sizes.ended(name, FULL, FULL + 2)
    assert sizes.of(name) == FEW
    assert sizes.of("createEvaluationAccounts") == FEW


def test_a_look_up_of_one_step_is_the_smallest_and_grows_again() -> None:
    """However often look-ups cannot go on, one step is looked up; when they can, they are as large as before."""
    sizes, name = LookUpSizes(), "createEvaluationUsers"
    sizes.ended(name, FEW, 2)
    for _ in range(20):
        sizes.not_ended(name, sizes.of(name), 50)
    assert sizes.of(name) == 1
    for _ in range(40):
        sizes.ended(name, sizes.of(name), 1)
    assert sizes.of(name) == FULL
