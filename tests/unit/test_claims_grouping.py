"""Which steps share a call: as many as fit, alike with alike, one trader never in two."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from worker.ledger.call_groups import JOINED, grouped

ROWS = st.lists(
    st.builds(
        lambda trader, alike, weight: {"trader_key": f"u:{trader}", "alike": alike, "weight": weight},
        st.integers(1, 8),
        st.sampled_from([None, "a", "b"]),
        st.integers(1, 60),
    ),
    max_size=60,
)


@given(ROWS, st.integers(1, 100))
def test_calls_hold_alike_steps_within_their_limit_and_each_trader_once(rows: list[dict[str, Any]], most: int) -> None:
    """Whatever waits: no call is overfull, none mixes what differs, and no trader is in two of them."""
    groups = grouped(rows, most)
    where: dict[str, int] = {}
    for index, group in enumerate(groups):
        assert len({row["alike"] for row in group}) == 1
        assert len(group) == 1 or sum(row["weight"] for row in group) <= most
        for row in group:
            assert where.setdefault(row["trader_key"], index) == index
    taken = Counter(id(row) for group in groups for row in group)
    assert set(taken.values()) <= {1}
    assert not rows or groups


def test_one_request_stands_for_all_steps_that_say_the_same() -> None:
    """However few items a call has; what says nothing in particular goes alone."""
    same = [{"trader_key": "u:1", "alike": "1:31", "weight": 1} for _ in range(150)]
    assert [len(group) for group in grouped(same, 1, joined=True)] == [JOINED]
    other = [{"trader_key": f"u:{n}", "alike": None, "weight": 1} for n in range(3)]
    assert [len(group) for group in grouped(other, 1, joined=True)] == [1, 1, 1]
