"""Accounts at Tradovate that carry our prefix and belong to nobody in the ledger: found by listing the organization."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from worker.ledger import reconcile_view
from worker.ledger.database import Database
from worker.ledger.differences import Difference, Kind
from worker.operate.reconcile.reading import Reads, archived
from worker.partner.bulk_reads import chunks
from worker.partner.single_reads import Row, is_id
from worker.replies import Domain

CLOCKS_DIFFER = timedelta(minutes=5)
"""By which Tradovate's clock may be behind the database's."""


async def unknown_accounts(database: Database, reads: Reads, prefix: str) -> Sequence[Difference]:
    """One call. An account that a purchase may be creating now is in progress, and no difference. So the list is read
    before the ledger, and accounts younger than the oldest purchase without an account are left out. So is what has
    been archived.
    """
    rows = [row for row in await reads.listed(Domain.DEMO, "account") if _is_ours(row, prefix)]
    unknown: list[Row] = []
    async with database.connection() as connection:
        making = await reconcile_view.making_since(connection)
        for some in chunks(rows, 1000):
            known = await reconcile_view.known_accounts(connection, [row["id"] for row in some])
            unknown += [row for row in some if row["id"] not in known]
    return [_difference(row) for row in unknown if making is None or _made_at(row, making) < making - CLOCKS_DIFFER]


def _is_ours(row: Row, prefix: str) -> bool:
    """By the name: our prefix, and digits (Tradovate, create evaluation accounts)."""
    name = row.get("name")
    if not isinstance(name, str) or not is_id(row.get("id")) or archived(row):
        return False
    number = name.removeprefix(prefix)
    return number != name and number.isascii() and number.isdigit()


def _made_at(row: Row, unclear: datetime) -> datetime:
    """When the account was created (`Account.timestamp`); `unclear` when that cannot be read."""
    value: Any = row.get("timestamp")
    try:
        made = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return unclear
    return made if made.tzinfo is not None else unclear


def _difference(row: Row) -> Difference:
    text = (
        f"Account {row['id']} ({row['name']}) at Tradovate belongs to nobody in the ledger: `tradovate-worker import`"
        " loads it, if it is a trader's."
    )
    return Difference(Kind.ACCOUNT_UNKNOWN, text, account_id=row["id"], account_name=row["name"])
