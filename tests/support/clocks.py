"""Clocks that a test sets."""

from __future__ import annotations

from datetime import datetime

import asyncpg


class DatabaseTime:
    """The time of one database, which a test sets: its functions are found in a schema of the test's own first.

    Only connections that are opened afterwards see it, so it is set before a replica starts, and may be set again
    later. It goes on from where it is set. What statements take from `now()` keeps the real time.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    async def set(self, at: datetime) -> None:
        """From now on it is `at`."""
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(_MAKE)
            await connection.execute(
                "update set_time.shift set by = $1 - pg_catalog.clock_timestamp()",
                at,
            )
        finally:
            await connection.close()


_MAKE = """
create schema if not exists set_time;
create table if not exists set_time.shift (by interval not null);
insert into set_time.shift select '0' where not exists (select 1 from set_time.shift);
create or replace function set_time.clock_timestamp() returns timestamptz language sql volatile
    as 'select pg_catalog.clock_timestamp() + by from set_time.shift';
create or replace function set_time.statement_timestamp() returns timestamptz language sql stable
    as 'select pg_catalog.statement_timestamp() + by from set_time.shift';
do $do$ begin
    execute format('alter database %I set search_path = set_time, public, pg_catalog', current_database());
end $do$;
"""
