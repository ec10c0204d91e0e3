"""How many steps are looked up together, where the budget does not allow all reads of a look-up."""

from __future__ import annotations

from itertools import product

from worker.dispatch.look_up_sizes import FEW_READS, FULL, LookUpSizes


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
            sizes.ended("createEvaluationUsers")
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
    sizes.not_ended("createEvaluationUsers", 100, FEW_READS)
    assert sizes.of("createEvaluationUsers") == FULL


def test_a_look_up_of_one_step_is_the_smallest_and_grows_again() -> None:
    """However often look-ups cannot go on, one step is looked up; when they can, they are as large as before."""
    sizes = LookUpSizes()
    for _ in range(20):
        sizes.not_ended("createEvaluationUsers", sizes.of("createEvaluationUsers"), 50)
    assert sizes.of("createEvaluationUsers") == 1
    for _ in range(40):
        sizes.ended("createEvaluationUsers")
    assert sizes.of("createEvaluationUsers") == FULL
