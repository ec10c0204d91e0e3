"""What is known of one item of a call: one type from the response, or its look-up, to the outcome.

    Succeeded     it took effect, or had already
    Rejected      Tradovate says no to it, or it belongs to another
    NotExecuted   it did not take effect
    Unknown       it may or may not have taken effect

Dispatch reads a result out of a response (`partner/response.py`) or a look-up (`partner/look_up.py`). The engine
decides whether the step ends with it, and gives the same result to the step's flow. Then `code` is what the outcome
says: a step that was not executed until the end of its time `gave_up`, one that stays unknown is `in_doubt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from schemas.outcomes import ErrorCode


@dataclass(frozen=True, slots=True)
class Succeeded:
    """It took effect; `value` is what the flow learns from it: ids, in the outcome's field names.

    `message` in it is the partner's own text.
    """

    value: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """It will not take effect. `code`: rejected, conflict (it belongs to another), not_found, or in_doubt: an operator
    must judge the rejection.

    `verify`: Tradovate may have said so because an earlier call has made it; a look-up finds out.
    """

    text: str
    code: ErrorCode = ErrorCode.REJECTED
    verify: bool = False


@dataclass(frozen=True, slots=True)
class NotExecuted:
    """It did not take effect; it may be sent after `wait` (None: after the back-off).

    `others`: ids of what a look-up found in its place, and which could be taken for it later. `divide`: of a step that
    asks for several things and failed again and again; asked for in parts, some of them may succeed.
    """

    text: str = ""
    wait: timedelta | None = None
    others: tuple[int, ...] = ()
    divide: bool = False

    @property
    def code(self) -> ErrorCode:
        """Of a step that ends with it."""
        return ErrorCode.GAVE_UP


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may or may not have taken effect: only a look-up or an operator finds out.

    `wait`: before the look-up (None: the settle time). `given_up`: it stays unknown, and no operator has to find out.
    """

    text: str
    wait: timedelta | None = None
    given_up: bool = False

    @property
    def code(self) -> ErrorCode:
        """Of a step that ends with it."""
        return ErrorCode.GAVE_UP if self.given_up else ErrorCode.IN_DOUBT


Failure = Rejected | NotExecuted | Unknown
Result = Succeeded | Failure


class CallEnd(StrEnum):
    """How a call ended, as far as it decides what becomes of its batch."""

    ANSWERED = "answered"  # each item has its own result
    REJECTED = "rejected"  # several items at once: any of them may be why
    FAILED = "failed"  # no item has a known result, or none was executed: any of them may be why
    EMPTY = "empty"  # an empty 404 or 405: as FAILED, and what an item needs may be missing
    TICKET = "ticket"  # a penalty: the same body is sent again with the ticket
    CAPTCHA = "captcha"  # a penalty without a ticket


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call ended, and one result for each of its items."""

    end: CallEnd
    results: Sequence[Result]
