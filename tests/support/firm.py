"""What the tests of the seven other events share: a firm with traders at the partner, and events of every topic."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.stage import FINAL, Stage
from tests.support.waiting import eventually

_numbers = itertools.count(1)


@dataclass
class Firm:
    """A stage with the shop's events of any topic, and the partner's entities behind them."""

    stage: Stage
    sent: list[dict[str, Any]] = field(default_factory=list)

    def seed(self, count: int = 1, *, permission: str | None = "Accepted") -> list[tuple[int, int, int]]:
        """Users that nobody made by a call, each with an account and a permission on it: their ids."""
        seed = self.stage.partner.sandbox.control.seed
        found = []
        for _ in range(count):
            n = next(_numbers)
            user = seed({"users": [{"name": f"seeded{n}", "email": f"seeded{n}@example.com"}]})["userIds"][0]
            account = seed({"accounts": [{"name": f"SEEDED{n}"}]})["accountIds"][0]
            permissions = [{"accountId": account, "userId": user, "status": permission}] if permission else []
            ids = seed({"permissions": permissions})["tradingPermissionIds"] if permissions else [0]
            found.append((user, account, ids[0]))
        return found

    async def send(self, topic: str, **event: Any) -> str:
        """Sends one event, and returns its id."""
        body = {"eventId": f"{topic}-{next(_numbers)}", **event}
        self.sent.append(body)
        await self.stage.wire.send(body, topic=topic)
        return str(body["eventId"])

    async def outcome(self, topic: str, *, timeout: float = 20, **event: Any) -> dict[str, Any]:
        """Sends one event and waits for its final outcome."""
        return await self.ended(await self.send(topic, **event), timeout)

    async def ended(self, event_id: str, timeout: float = 20) -> dict[str, Any]:
        """Waits for an event's final outcome."""
        return await self.stage.outcome(event_id, timeout)

    async def outcome_with(self, event_id: str, status: str, timeout: float = 20, **values: Any) -> dict[str, Any]:
        """Waits for an outcome of that status with these values."""

        def found() -> dict[str, Any] | None:
            for outcome in self.stage.wire.outcomes_of(event_id):
                if outcome["status"] == status and all(outcome[name] == value for name, value in values.items()):
                    return outcome
            return None

        outcome = await eventually(found, timeout)
        assert outcome is not None
        return outcome

    def statuses(self, event_id: str) -> list[tuple[str, str | None]]:
        """Status and request status of every outcome of an event, in the order in which they came."""
        return [(each["status"], each["requestStatus"]) for each in self.stage.wire.outcomes_of(event_id)]

    def switch(self, **changes: Any) -> None:
        """Turns switches of the partner."""
        self.stage.partner.sandbox.control.switch(changes)

    def sign(self, user_id: int) -> None:
        """The trader signs the Market Data Agreement."""
        self.stage.partner.sandbox.control.sign({"userId": user_id})

    def review(self, request_id: int, status: str, **more: Any) -> None:
        """Compliance decides a request."""
        self.stage.partner.sandbox.control.review({"requestId": request_id, "status": status, **more})

    def permission(self, permission_id: int) -> Mapping[str, Any]:
        """A permission as the partner has it."""
        row: Mapping[str, Any] = self.stage.partner.sandbox.core.world.permissions.rows[permission_id]
        return row


def application(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A subaccount request's fields, with personal data that a leak would show."""
    return {
        "riskCategoryId": 5,
        "marginType": "Speculator",
        "transferAmount": 1000.0,
        "authorizedIndividual": True,
        "firstName": "Graduata",
        "lastName": "Subaccounty",
        "country": "US",
        "state": "TX",
        "streetAddress1": f"{number} Fundedstreet",
        "city": "Fundedville",
        "zipCode": "78701",
        "phone": "+15125550177",
        "citizenship": "US",
        "taxIdentifier": f"{917364285 + 1009 * number}",  # no such digits are in a sum of seconds by chance
        "birthDate": "1987-06-05",
        **changes,
    }


__all__ = ["FINAL", "Firm", "application"]
