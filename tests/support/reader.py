"""The partner's reads, for look-ups that are tested alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from worker.replies import Answer, Domain, NotExecuted, Query, Refusal, Reply, Unclear
from worker.tradovate.operation import Operation


@dataclass
class FakeReader:
    """Answers reads out of `answers`, by path; a function gets the query."""

    answers: Mapping[str, Any]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def now(self) -> datetime:
        return self.at

    async def get(self, domain: Domain, path: str, **query: Query) -> Reply:
        return self._answer(domain, path, query)

    async def post(self, domain: Domain, path: str, body: Mapping[str, Any]) -> Reply:
        return self._answer(domain, path, body)

    def _answer(self, _domain: Domain, path: str, query: Mapping[str, Any]) -> Reply:
        self.asked.append((path, query))
        found = self.answers.get(path, NotExecuted("none", 404))
        reply = found(query) if callable(found) else found
        return reply if isinstance(reply, Answer | NotExecuted | Refusal | Unclear) else Answer(reply)


async def look(operation: Operation, reader: FakeReader, *items: dict[str, Any]) -> list[Any]:
    """What a look-up finds."""
    assert operation.look_up is not None
    return list(await operation.look_up(reader, items))
