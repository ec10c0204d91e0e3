"""The partner's reads, for look-ups that are tested alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from worker.partner.look_up import look as look_with_proof
from worker.partner.observed_forms import ObservedForms
from worker.partner.operation import Operation
from worker.replies import Answer, Domain, Misdirected, Query, Refusal, Reply, Unclear

ADMIN = 1001
"""The API user's own id: what it has is read on both domains to see whether a host answers at all."""


@dataclass
class FakeReader:
    """Answers reads out of `answers`, by path; a function gets the query. What is not there is an empty 404.

    `wrong_host`: of the API user too.
    """

    answers: Mapping[str, Any]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    seen: ObservedForms = field(default_factory=lambda: ObservedForms(user_id=ADMIN))
    wrong_host: bool = False

    def now(self) -> datetime:
        return self.at

    async def get(self, domain: Domain, path: str, **query: Query) -> Reply:
        return self._answer(domain, path, query)

    async def post(self, domain: Domain, path: str, body: Mapping[str, Any]) -> Reply:
        return self._answer(domain, path, body)

    @property
    def paths(self) -> list[str]:
        """What was asked, without the reads that only see whether the host answers."""
        return [path for path, query in self.asked if query != {"masterid": ADMIN}]

    def _answer(self, _domain: Domain, path: str, query: Mapping[str, Any]) -> Reply:
        self.asked.append((path, query))
        if query == {"masterid": ADMIN} and not self.wrong_host:
            return Answer([])
        found = self.answers.get(path, Misdirected("none", 404))
        reply = found(query) if callable(found) else found
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Answer | Misdirected | Refusal | Unclear) else Answer(reply)


async def look(operation: Operation, reader: FakeReader, *items: dict[str, Any]) -> list[Any]:
    """What a look-up finds."""
    return list(await look_with_proof(operation, reader, items))
