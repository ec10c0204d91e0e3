"""What a dry run has judged so far: the rows that the lines before would have made, outside of the ledger.

They are in a private database of SQLite, which keeps them in a temporary file: a hundred thousand lines need no memory.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Sequence

from worker.engine.changes import Changes
from worker.engine.flows.base import Names
from worker.engine.rows import OrderRow, TraderRow
from worker.engine.snapshot import Snapshot

_TABLES = """
create table trader (trader_id text primary key, user_id integer, row blob);
create index trader_user on trader (user_id);
create table business_order (kind text, order_id text, account_id integer, permission_id integer, row blob,
    primary key (kind, order_id));
create index order_account on business_order (account_id);
create index order_permission on business_order (permission_id);
"""


class Rehearsal:
    """Rows by the same keys as in the ledger. Nothing but this process reads or writes them."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("")
        self._rows.executescript(_TABLES)

    def keep(self, changes: Changes) -> None:
        """Keeps what a transaction would have written."""
        traders = [(row.trader_id, row.user_id, pickle.dumps(tuple(row))) for row in changes.traders]
        self._rows.executemany("insert or replace into trader values (?, ?, ?)", traders)
        orders = [
            (row.kind, row.order_id, row.account_id, row.permission_id, pickle.dumps(tuple(row)))
            for row in changes.orders
        ]
        self._rows.executemany("insert or replace into business_order values (?, ?, ?, ?, ?)", orders)

    def overlay(self, snapshot: Snapshot, named: Sequence[Names]) -> None:
        """Adds the rows of all that is named."""
        for names in named:
            for column, key in (("trader_id", names.trader_id), ("user_id", names.user_id)):
                for (row,) in self._rows.execute(f"select row from trader where {column} = ?", (key,)):  # noqa: S608
                    snapshot.add_trader(TraderRow(*pickle.loads(row)))  # noqa: S301 - of this very process
            found = self._found("kind = ? and order_id = ?", names.order_kind, names.order_id)
            found += self._found("account_id = ?", names.account_id)
            for permission in names.permission_ids:
                found += self._found("permission_id = ?", permission)
            for row in found:
                snapshot.add_order(OrderRow(*pickle.loads(row)))  # noqa: S301 - of this very process

    def _found(self, condition: str, *values: object) -> list[bytes]:
        rows = self._rows.execute(f"select row from business_order where {condition}", values)  # noqa: S608 - ours
        return [row for (row,) in rows]

    def close(self) -> None:
        """Forgets everything."""
        self._rows.close()
