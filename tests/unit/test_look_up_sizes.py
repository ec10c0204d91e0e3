"""How many steps are looked up together, where the budget does not allow all reads of a look-up."""

from __future__ import annotations

from worker.dispatch.look_up_sizes import FEW_READS, FULL, LookUpSizes


def test_look_ups_become_as_small_as_a_minutes_budget_and_all_end() -> None:
    """Where each step costs two reads and a minute allows sixty, what is looked up in vain becomes less each time."""
    sizes, left, minutes = LookUpSizes(), 482, 0
    while left:
        allowed, minutes = 60, minutes + 1
        while left:
            steps = min(left, sizes.of("createEvaluationUsers"))
            if 2 * steps > allowed:
                sizes.not_ended("createEvaluationUsers", steps, allowed)
                break
            allowed -= 2 * steps
            left -= steps
            sizes.ended("createEvaluationUsers")
    assert minutes < 40  # 964 reads need 17 of them; at their full size they never end


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
