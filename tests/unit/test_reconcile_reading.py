"""What `reconcile` reads of the users of a page, whatever the bulk reads answer."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from worker.ledger.reconcile_view import LedgerTrader, OrderSeen
from worker.operate.reconcile.compare import PERMISSION, CompareRules, Row
from worker.operate.reconcile.reading import Known, PageReading
from worker.operate.reconcile.standing import standing
from worker.partner.read_errors import NotPermitted, Unreadable
from worker.replies import Domain

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DENIED = NotPermitted("tradingPermission/deps", "Accounting: Read", "")


class EmptyForSeveral:
    """Tradovate, where a read of several users answers that nobody has anything, and one user cannot be read."""

    may_list, one_by_one, calls = False, False, 0

    def __init__(self, unread: int) -> None:
        self.unread = unread

    async def of_users(
        self, _domain: Domain, entity: str, users: Iterable[int]
    ) -> Mapping[int, Sequence[Row] | Unreadable]:
        """Rows of one user; none of several."""
        asked = list(users)
        rows = [{"id": 7, "accountId": 70, "status": "Accepted"}] if len(asked) == 1 and entity == PERMISSION else []
        return {user: DENIED if user == self.unread else rows for user in asked}

    async def by_id(self, _domain: Domain, _entity: str, ids: Iterable[int]) -> Mapping[int, Row | Unreadable]:
        """All are there."""
        return {each: {"id": each} for each in ids}

    async def accounts_by_name(self, names: Iterable[str]) -> Mapping[str, Sequence[Row] | Unreadable]:
        """None of them is found by its name."""
        return dict.fromkeys(names, ())

    async def listed(self, domain: Domain, entity: str) -> Sequence[Row]:
        """Nothing."""
        raise AssertionError((domain, entity))


def known(user: int) -> Known:
    """A trader with an active account."""
    bought: dict[str, Any] = {
        "kind": "purchased", "order_id": str(user), "flow_id": uuid.UUID(int=user), "state": "succeeded",
        "account_id": 70 + user, "account_name": None, "permission_id": 7, "asked_at": NOW, "ended_at": None,
    }  # fmt: skip
    trader = LedgerTrader(f"cust-{user}", user, None, None, (OrderSeen(**bought),), (), ())
    return Known(trader, standing(trader))


async def test_a_user_who_cannot_be_read_does_not_vouch_for_an_empty_bulk_read() -> None:
    """Who cannot be read is nobody who has something: that the others have nothing is checked with one of them."""
    reading = await PageReading.of(EmptyForSeveral(3), CompareRules(NOW, 7, None), [known(user) for user in (1, 2, 3)])
    assert reading.unread == {3}
    assert [len(reading.seen[user].permissions) for user in (1, 2)] == [1, 1]
