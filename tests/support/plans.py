"""What the program's statements read, as the server itself counts it: every one is explained where it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from worker.ledger.connection import Connection
from worker.ledger.database import Database

_EXPLAINED = ("select", "insert", "update", "delete", "with")


@dataclass(frozen=True)
class Seen:
    """A statement, its plan, what it read, and how long it took the server to plan and run it."""

    query: str
    plan: Mapping[str, Any]
    milliseconds: float

    @property
    def nodes(self) -> Iterator[Mapping[str, Any]]:
        """All nodes of the plan."""
        waiting = [self.plan]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", ())

    @property
    def rows_read(self) -> int:
        """Rows that its scans met in tables and indexes, those that were of no use among them."""
        return round(sum(_met(node) for node in self.nodes if "Relation Name" in node or "Index Name" in node))

    @property
    def relations(self) -> set[str]:
        """The tables that it reads."""
        return {str(node["Relation Name"]) for node in self.nodes if "Relation Name" in node}

    @property
    def blocks(self) -> int:
        """Blocks of tables and indexes that it looked at; one that was looked at twice counts twice."""
        return int(self.plan["Shared Hit Blocks"] + self.plan["Shared Read Blocks"])

    def __str__(self) -> str:
        """For an operator: the query, and each node that read something."""
        reading = [
            f"  {node['Node Type']} {node.get('Index Name', '')} on {node.get('Relation Name', '')}:"
            f" {_met(node):.0f} rows, {node['Actual Loops']} loops,"
            f" cond {node.get('Index Cond', '')[:90]} filter {node.get('Filter', '')[:90]}"
            for node in self.nodes
            if _met(node) and ("Relation Name" in node or "Index Name" in node)
        ]
        text = " ".join(self.query.split())
        head = f"{self.rows_read} rows, {self.blocks} blocks, {self.milliseconds:.1f} ms: {text[:300]}"
        return "\n".join([head, *reading])


def _met(node: Mapping[str, Any]) -> float:
    loops = node.get("Actual Loops", 0)
    of_no_use = ("Rows Removed by Filter", "Rows Removed by Index Recheck", "Rows Removed by Join Filter")
    each = node.get("Actual Rows", 0) if node["Node Type"] != "ModifyTable" else 0
    return float(loops * each) + sum(float(loops * node.get(name, 0)) for name in of_no_use)


class _Explaining(Connection):
    """A connection that explains each statement before it runs it."""

    __slots__ = ("_seen",)

    def __init__(self, inner: Connection, seen: list[Seen]) -> None:
        super().__init__(inner._raw)
        self._seen = seen

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        await self._explain(query, arguments)
        return await super().fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        await self._explain(query, arguments)
        return await super().fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        await self._explain(query, arguments)
        return await super().fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> str:
        await self._explain(query, arguments)
        return await super().execute(query, *arguments)

    async def _explain(self, query: str, arguments: tuple[Any, ...]) -> None:
        if not query.strip().lower().startswith(_EXPLAINED) or "pg_advisory" in query:
            return
        alone = not self._in_transaction
        if alone:
            await super().begin()
        await super().execute("savepoint explained")
        found = await super().fetchval(f"explain (analyze, buffers, timing off, format json) {query}", *arguments)
        await super().execute("rollback to explained")
        if alone:
            await super().roll_back()
        plan = found[0]
        self._seen.append(Seen(query, plan["Plan"], plan["Planning Time"] + plan["Execution Time"]))


@dataclass
class Explaining(Database):
    """A database whose statements are explained; `seen` holds them in their order."""

    url: str
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.url, 3)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with super().connection() as connection:
            yield _Explaining(connection, self.seen)
