"""What a `trader.failed` learns, and the state that it is in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from schemas.outcomes import ErrorCode
from worker.engine.facts import NOTHING_SEEN, STORED, Facts, Seen, Trouble, changed
from worker.engine.flows.common import plus


class State(StrEnum):
    """Where the flow is; the diagram in README.md shows the moves."""

    REVOKING = "revoking"  # many permissions in one call
    REVOKING_SINGLY = "revoking_singly"  # one of those that failed together
    REVOKING_LAST = "revoking_last"  # one that failed by itself too: it delays no other one
    LOOKING_UP = "looking_up"
    READING = "reading"  # the ledger loads what it knows about what was found
    AWAITING_PURCHASE = "awaiting_purchase"
    AWAITING_ORDER = "awaiting_order"


@dataclass(frozen=True, slots=True)
class Revoking:
    """These permissions are being revoked. `others_wait`: more are to be revoked after them."""

    __pydantic_config__: ClassVar = STORED

    state: Literal[State.REVOKING, State.REVOKING_SINGLY, State.REVOKING_LAST]
    permission_ids: tuple[int, ...]
    others_wait: bool = False


@dataclass(frozen=True, slots=True)
class LookingUp:
    """Every permission on these accounts, these permissions, and the accounts of this name are looked up."""

    __pydantic_config__: ClassVar = STORED

    state: Literal[State.LOOKING_UP]
    account_ids: tuple[int, ...] = ()
    permission_ids: tuple[int, ...] = ()
    name: str | None = None

    def __bool__(self) -> bool:
        return bool(self.account_ids or self.permission_ids or self.name is not None)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found is loaded: it may belong to another trader."""

    __pydantic_config__: ClassVar = STORED

    state: Literal[State.READING]


@dataclass(frozen=True, slots=True)
class AwaitingPurchase:
    """Purchases of these orders are under way and may still give the trader a permission."""

    __pydantic_config__: ClassVar = STORED

    state: Literal[State.AWAITING_PURCHASE]
    order_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AwaitingOrder:
    """The order is not known yet: the event may have overtaken its purchase."""

    __pydantic_config__: ClassVar = STORED

    state: Literal[State.AWAITING_ORDER]
    order_id: str
    until: datetime


Situation = Revoking | LookingUp | Reading | AwaitingPurchase | AwaitingOrder


@dataclass(frozen=True, slots=True)
class FoundPermission:
    """A trading permission as Tradovate has it. What is None was not readable."""

    __pydantic_config__: ClassVar = STORED

    permission_id: int
    user_id: int | None
    account_id: int | None
    status: str | None


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What has been looked up, and what was there. `accounts`: those that exist; `named`: those of the order's name."""

    __pydantic_config__: ClassVar = STORED

    account_ids: tuple[int, ...] = ()
    permission_ids: tuple[int, ...] = ()
    name: bool = False
    accounts: tuple[int, ...] = ()
    named: tuple[int, ...] = ()
    failure: Trouble | None = None


@dataclass(frozen=True, kw_only=True)
class FailedFacts(Facts):
    """All that the flow has learned. `account_id` and `account_name` are the order's, for the outcome;
    `trading_permission_ids` those that are meant and are revoked now.
    """

    failed_together: tuple[int, ...] = ()
    failed_singly: tuple[int, ...] = ()
    refused: Mapping[int, Trouble] = field(default_factory=dict)
    found: Mapping[int, FoundPermission] = field(default_factory=dict)
    looked_up: LookedUp = LookedUp()
    situation: Annotated[Situation, Field(discriminator="state")] | None = None
    """What the step asks for, or what is waited for; None when that has ended."""

    @property
    def seen(self) -> Seen:
        """The permissions that were found, with their accounts and users: they may be another trader's."""
        rows = self.found.values()
        if not rows:
            return NOTHING_SEEN
        return Seen(
            account_ids=tuple(sorted({row.account_id for row in rows if row.account_id is not None})),
            permission_ids=tuple(sorted(self.found)),
            user_ids=tuple(sorted({row.user_id for row in rows if row.user_id is not None})),
        )

    def kept(self) -> Self:
        """What is in effect: the permissions that are revoked."""
        return type(self)(account_name=self.account_name, trading_permission_ids=self.trading_permission_ids)

    def with_revoked(self, permission_ids: Iterable[int]) -> Self:
        """These permissions are revoked."""
        ids = plus(self.trading_permission_ids, *permission_ids)
        return changed(self, trading_permission_ids=ids, situation=None)

    def with_failure(self, revoking: Revoking, trouble: Trouble, *, divide: bool) -> Self:
        """A revocation has failed. `divide`: without a result, again and again; the permissions may be revoked apart.

        What was refused together is tried one by one: each may have been refused because of another one.
        """
        ids = revoking.permission_ids
        if len(ids) > 1 and (divide or trouble.code in (ErrorCode.REJECTED, ErrorCode.NOT_FOUND)):
            return changed(self, failed_together=plus(self.failed_together, *ids), situation=None)
        if divide:
            return changed(self, failed_singly=plus(self.failed_singly, *ids), situation=None)
        return changed(self, refused={**self.refused, **dict.fromkeys(ids, trouble)}, situation=None)

    def with_found(self, looking: LookingUp, rows: Iterable[Sequence[Any]], accounts: Sequence[int]) -> Self:
        """A look-up has found these permissions, and that these accounts exist."""
        new, before = [FoundPermission(*row) for row in rows], self.looked_up
        looked_up = replace(
            before,
            account_ids=plus(before.account_ids, *looking.account_ids),
            permission_ids=plus(before.permission_ids, *looking.permission_ids),
            accounts=plus(before.accounts, *accounts),
        )
        if looking.name is not None:
            named = tuple(each for each in accounts if each not in looking.account_ids)
            looked_up = replace(looked_up, name=True, named=named)
        found = {**self.found, **{row.permission_id: row for row in new}}
        return changed(self, found=found, looked_up=looked_up, situation=Reading(State.READING))

    def with_failed_look_up(self, trouble: Trouble) -> Self:
        """A look-up has failed for good: nothing more is looked up."""
        return changed(self, looked_up=replace(self.looked_up, failure=trouble), situation=None)
