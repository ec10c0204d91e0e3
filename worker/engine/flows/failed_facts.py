"""What a `trader.failed` remembers between its steps, and the state that it is in: typed values.

A flow's facts are a mapping, stored as JSON. Those of this flow are read by `FailedMemory.of` and written by
`FailedMemory.facts`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from schemas.outcomes import ErrorCode
from worker.engine.flows.base import Facts

REVOKED = "tradingPermissionIds"
"""The fact, and the outcome's field: the permissions that are meant and are revoked now."""

KEPT = (REVOKED, "accountName")
"""Facts that stay when an operator retries the flow: what is in effect."""


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

    state: State
    permission_ids: tuple[int, ...]
    others_wait: bool = False


@dataclass(frozen=True, slots=True)
class LookingUp:
    """Every permission on these accounts, these permissions, and the accounts of this name are looked up."""

    state: ClassVar[State] = State.LOOKING_UP
    account_ids: tuple[int, ...] = ()
    permission_ids: tuple[int, ...] = ()
    name: str | None = None

    def __bool__(self) -> bool:
        return bool(self.account_ids or self.permission_ids or self.name is not None)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found is loaded: it may belong to another trader."""

    state: ClassVar[State] = State.READING


@dataclass(frozen=True, slots=True)
class AwaitingPurchase:
    """Purchases of these orders are under way and may still give the trader a permission."""

    state: ClassVar[State] = State.AWAITING_PURCHASE
    order_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AwaitingOrder:
    """The order is not known yet: the event may have overtaken its purchase."""

    state: ClassVar[State] = State.AWAITING_ORDER
    order_id: str
    until: datetime


Situation = Revoking | LookingUp | Reading | AwaitingPurchase | AwaitingOrder


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something was not revoked or not looked up."""

    code: ErrorCode
    text: str


@dataclass(frozen=True, slots=True)
class FoundPermission:
    """A trading permission as Tradovate has it. What is None was not readable."""

    permission_id: int
    user_id: int | None
    account_id: int | None
    status: str | None


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What has been looked up, and what was there. `accounts`: those that exist; `named`: those of the order's name."""

    account_ids: tuple[int, ...] = ()
    permission_ids: tuple[int, ...] = ()
    name: bool = False
    accounts: tuple[int, ...] = ()
    named: tuple[int, ...] = ()
    failure: Trouble | None = None


@dataclass(frozen=True, slots=True)
class FailedMemory:
    """All that the flow remembers. `account_id` and `account_name` are the order's, for the outcome."""

    account_id: int | None = None
    account_name: str | None = None
    revoked: tuple[int, ...] = ()
    failed_together: tuple[int, ...] = ()
    failed_singly: tuple[int, ...] = ()
    refused: Mapping[int, Trouble] = field(default_factory=dict)
    found: Mapping[int, FoundPermission] = field(default_factory=dict)
    looked_up: LookedUp = LookedUp()
    situation: Revoking | LookingUp | None = None
    """What the step asks for; None while the flow waits or is planned."""

    @classmethod
    def of(cls, facts: Facts) -> FailedMemory:
        """What the facts say."""
        looked: Facts = facts.get("looked", {})
        rows = [FoundPermission(*row) for row in facts.get("found", ())]
        return cls(
            facts.get("accountId"),
            facts.get("accountName"),
            tuple(facts.get(REVOKED, ())),
            tuple(facts.get("failedTogether", ())),
            tuple(facts.get("failedSingly", ())),
            {int(each): _trouble(trouble) for each, trouble in facts.get("refused", {}).items()},
            {row.permission_id: row for row in rows},
            LookedUp(
                tuple(looked.get("accountIds", ())),
                tuple(looked.get("permissionIds", ())),
                looked.get("name", False),
                tuple(looked.get("accounts", ())),
                tuple(looked.get("named", ())),
                _trouble(looked["failure"]) if "failure" in looked else None,
            ),
            _situation(facts),
        )

    def facts(self, situation: Situation | None = None) -> dict[str, Any]:
        """The facts of the flow in this situation; None: while it is planned, or has ended."""
        said: dict[str, Any] = {
            "accountId": self.account_id,
            "accountName": self.account_name,
            "failedTogether": list(self.failed_together),
            "failedSingly": list(self.failed_singly),
            "refused": {str(each): [trouble.code.value, trouble.text] for each, trouble in self.refused.items()},
            "found": [[row.permission_id, row.user_id, row.account_id, row.status] for row in self.found.values()],
            "seen": _seen(self.found.values()),
            "looked": _looked(self.looked_up),
        }
        facts = {name: value for name, value in said.items() if value not in (None, [], {})}
        if self.revoked:
            facts[REVOKED] = list(self.revoked)
        if situation is None:
            return facts
        facts["state"] = situation.state.value
        match situation:
            case Revoking(permission_ids=ids, others_wait=others_wait):
                facts |= {"revoking": list(ids), "others": others_wait}
            case LookingUp(account_ids=accounts, permission_ids=ids, name=name):
                facts["looking"] = {"accounts": list(accounts), "ids": list(ids), "name": name}
            case Reading() | AwaitingPurchase() | AwaitingOrder():
                pass  # what is waited for is found out when the flow is planned again
        return facts

    def with_revoked(self, permission_ids: Iterable[int]) -> FailedMemory:
        """These permissions are revoked."""
        return replace(self, revoked=_plus(self.revoked, permission_ids))

    def with_failure(self, revoking: Revoking, trouble: Trouble, *, divide: bool) -> FailedMemory:
        """A revocation has failed. `divide`: without a result, again and again; the permissions may be revoked apart.

        What was refused together is tried one by one: each may have been refused because of another one.
        """
        ids = revoking.permission_ids
        if len(ids) > 1 and (divide or trouble.code in (ErrorCode.REJECTED, ErrorCode.NOT_FOUND)):
            return replace(self, failed_together=_plus(self.failed_together, ids))
        if divide:
            return replace(self, failed_singly=_plus(self.failed_singly, ids))
        return replace(self, refused={**self.refused, **dict.fromkeys(ids, trouble)})

    def with_found(self, looking: LookingUp, rows: Iterable[Sequence[Any]], accounts: Sequence[int]) -> FailedMemory:
        """A look-up has found these permissions, and that these accounts exist."""
        new, before = [FoundPermission(*row) for row in rows], self.looked_up
        looked_up = replace(
            before,
            account_ids=_plus(before.account_ids, looking.account_ids),
            permission_ids=_plus(before.permission_ids, looking.permission_ids),
            accounts=_plus(before.accounts, accounts),
        )
        if looking.name is not None:
            named = tuple(each for each in accounts if each not in looking.account_ids)
            looked_up = replace(looked_up, name=True, named=named)
        return replace(self, found={**self.found, **{row.permission_id: row for row in new}}, looked_up=looked_up)

    def with_failed_look_up(self, trouble: Trouble) -> FailedMemory:
        """A look-up has failed for good: nothing more is looked up."""
        return replace(self, looked_up=replace(self.looked_up, failure=trouble))


def _plus(some: tuple[int, ...], more: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys([*some, *more]))


def _trouble(said: Sequence[str]) -> Trouble:
    return Trouble(ErrorCode(said[0]), said[1])


def _seen(found: Iterable[FoundPermission]) -> dict[str, list[int]]:
    """What the ledger has to load and lock: see `base.widened`."""
    rows = list(found)
    seen = {
        "permissions": sorted(row.permission_id for row in rows),
        "users": sorted({row.user_id for row in rows if row.user_id is not None}),
        "accounts": sorted({row.account_id for row in rows if row.account_id is not None}),
    }
    return seen if rows else {}


def _looked(looked: LookedUp) -> dict[str, Any]:
    said: dict[str, Any] = {
        "accountIds": list(looked.account_ids),
        "permissionIds": list(looked.permission_ids),
        "name": looked.name,
        "accounts": list(looked.accounts),
        "named": list(looked.named),
    }
    facts = {name: value for name, value in said.items() if value}
    if looked.failure is not None:
        facts["failure"] = [looked.failure.code.value, looked.failure.text]
    return facts


def _situation(facts: Facts) -> Revoking | LookingUp | None:
    match facts.get("state"):
        case State.LOOKING_UP:
            looking = facts["looking"]
            return LookingUp(tuple(looking["accounts"]), tuple(looking["ids"]), looking["name"])
        case State.REVOKING | State.REVOKING_SINGLY | State.REVOKING_LAST as state:
            return Revoking(State(state), tuple(facts["revoking"]), facts["others"])
        case _:
            return None
