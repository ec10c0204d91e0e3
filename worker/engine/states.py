"""The states of a step, and the moves between them that are allowed.

waiting    for another flow, an order, a trader, or a time: planned again when woken or due
due        may be sent from `due` on
in_flight  written before the bytes leave; the holder of the lease writes the result
unknown    may or may not have taken effect: ended only by a look-up or an operator
done       took effect
refused    will not take effect
parked     an operator must look at it
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class StepState(StrEnum):
    """States of a step; the diagram in `worker/ledger/README.md` shows the moves."""

    WAITING = "waiting"
    DUE = "due"
    IN_FLIGHT = "in_flight"
    UNKNOWN = "unknown"
    DONE = "done"
    REFUSED = "refused"
    PARKED = "parked"


MOVES: Mapping[StepState, frozenset[StepState]] = {
    # Planned again: another operation may be due, or it is looked up before it is sent, or the flow has ended.
    StepState.WAITING: frozenset(
        {StepState.WAITING, StepState.DUE, StepState.UNKNOWN, StepState.DONE, StepState.REFUSED}
    ),
    # Claimed; or looked up again, since another step asks for the same; or cancelled by an operator before it was sent.
    StepState.DUE: frozenset({StepState.IN_FLIGHT, StepState.UNKNOWN, StepState.REFUSED}),
    # The result of its call; a lease that ran out counts as unknown.
    StepState.IN_FLIGHT: frozenset(
        {StepState.DONE, StepState.REFUSED, StepState.DUE, StepState.UNKNOWN, StepState.PARKED}
    ),
    # The result of its look-up.
    StepState.UNKNOWN: frozenset(
        {StepState.DONE, StepState.REFUSED, StepState.DUE, StepState.UNKNOWN, StepState.PARKED}
    ),
    StepState.DONE: frozenset(),
    StepState.REFUSED: frozenset(),
    # An operator has looked: it took effect, or it did not (a retry is a new step).
    StepState.PARKED: frozenset({StepState.DONE, StepState.REFUSED}),
}
"""The allowed moves. A step that is looked up keeps its state and is leased."""

PLAN = "plan"
"""The operation of a step that waits: no call is made, the flow is planned again."""


class SharedBatch(IntEnum):
    """Why steps must share a call. `of` gives the number (`batch_id`) that they have in common, unique to the call."""

    TICKET = 0  # the same body, to the byte, is sent again with its penalty ticket
    FIRST_HALF = 1
    SECOND_HALF = 2
    LOOKED_UP = 3  # rejected as a whole, looked up together

    def of(self, call_id: int) -> int:
        """The number of the batch that call `call_id` made."""
        return call_id * 4 + self

    def made(self, batch_id: int | None) -> bool:
        """Whether it is why the steps of this batch must share a call."""
        return batch_id is not None and batch_id % 4 == self


def check_move(before: StepState, after: StepState) -> None:
    """Raises `ValueError` for a move that the table does not allow."""
    if after not in MOVES[before]:
        raise ValueError(f"a step cannot move from {before} to {after}")
