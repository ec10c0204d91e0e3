"""Accounts at Tradovate that carry our prefix and belong to nobody in the ledger: found by listing the organization."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from worker.engine.flows.names import account_name
from worker.ledger.database import Connection, Database
from worker.ledger.differences import Difference, Kind
from worker.ledger.reconcile_view import Making, known_accounts, makings
from worker.operate.reconcile.reading import Reads, archived
from worker.partner.bulk_reads import chunks
from worker.partner.single_reads import Row, folded, is_id
from worker.replies import Domain


async def unknown_accounts(database: Database, reads: Reads, prefix: str) -> Sequence[Difference]:
    """One call. An account with the name that an open purchase gives is in progress, and no difference. So the list is
    read before the ledger, and accounts that nobody seems to have are looked for again after the purchases. What is
    archived is left out.

    One with the name of a purchase that ended in doubt is a difference: it is what an operator looks for.
    """
    rows = [row for row in await reads.listed(Domain.DEMO, "account") if _is_ours(row, prefix)]
    async with database.connection() as connection:
        rows = await _unknown(connection, rows)
        making = await makings(connection) if rows else ()
        rows = await _unknown(connection, rows)
    # Of two of one order the open one counts: it may be making the account now.
    ordered = sorted(making, key=lambda each: not each.in_doubt)
    named = {name: each for each in ordered for name in _names(each, prefix)}
    found = [(row, named.get(folded(row["name"]))) for row in rows]
    return [_difference(row, made_by) for row, made_by in found if made_by is None or made_by.in_doubt]


async def _unknown(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    unknown: list[Row] = []
    for some in chunks(rows, 1000):
        known = await known_accounts(connection, [row["id"] for row in some])
        unknown += [row for row in some if row["id"] not in known]
    return unknown


def _names(making: Making, prefix: str) -> Iterable[str]:
    return map(folded, (account_name(prefix, making.order_id), *making.asked))


def _is_ours(row: Row, prefix: str) -> bool:
    """By the name: our prefix, and digits (Tradovate, create evaluation accounts)."""
    name = row.get("name")
    if not isinstance(name, str) or not is_id(row.get("id")) or archived(row):
        return False
    number = name.removeprefix(prefix)
    return number != name and number.isascii() and number.isdigit()


def _difference(row: Row, making: Making | None) -> Difference:
    account = f"Account {row['id']} ({row['name']}) at Tradovate"
    text = (
        f"{account} belongs to nobody in the ledger: `tradovate-worker import` loads it, if it is a trader's."
        if making is None
        else f"{account} has the name that order {making.order_id} gives, whose purchase ended in doubt:"
        f" `tradovate-worker flows show {making.order_id}`, then `flows resolve`."
    )
    order_id = None if making is None else making.order_id
    return Difference(Kind.ACCOUNT_UNKNOWN, text, order_id=order_id, account_id=row["id"], account_name=row["name"])
