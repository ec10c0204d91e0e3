"""Rows of a ledger as flows leave them, written directly: what a firm has done before a test begins."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tests.support.running_firm import RunningFirm

_numbers = itertools.count(1)


@dataclass
class LedgerRows:
    """Writes what purchases and other events would have left behind, some time `ago`."""

    firm: RunningFirm

    async def bought(
        self,
        trader: str,
        user: int,
        account: int,
        permission: int,
        *,
        ago: timedelta = timedelta(days=1),
        **changes: Any,
    ) -> str:
        """A purchase that has succeeded; its order."""
        order = f"order-{next(_numbers)}"
        values = {
            "kind": "purchased",
            "state": "succeeded",
            "account_id": account,
            "permission_id": permission,
            "facts": {},
            **changes,
        }
        await self.firm.rows(
            "with t as (insert into trader (trader_id, user_id) values ($1, $2) on conflict do nothing)"
            " insert into business_order (kind, order_id, flow_id, state, details, trader_id, user_id, account_id,"
            " permission_id, facts, asked_at)"
            " values ($3, $4, $5, $6, '', $1, $2, $7, $8, $9, now() - $10::interval)",
            trader,
            user,
            values["kind"],
            order,
            uuid.uuid4(),
            values["state"],
            values["account_id"],
            values["permission_id"],
            values["facts"],
            ago,
        )
        return order

    async def flow(
        self,
        topic: str,
        *,
        state: str = "succeeded",
        ago: timedelta = timedelta(hours=1),
        trader: str | None = None,
        user: int | None = None,
        order: str | None = None,
        account: int | None = None,
        code: str | None = None,
        facts: dict[str, Any] | None = None,
        event: str | None = None,
    ) -> uuid.UUID:
        """A flow of an event."""
        number = next(_numbers)
        flow = uuid.UUID(int=number)
        await self.firm.rows(
            'insert into flow (id, topic, event_id, partition, "offset", trader_id, user_id, order_id, account_id,'
            " state, error_code, facts, asked_at, created_at, ended_at)"
            " values ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9, $10, $11, now() - $12::interval, now() - $12::interval,"
            " case when $9 = 'open' then null else now() - $12::interval end)",
            flow,
            topic,
            event or f"event-{number}",
            number,
            trader,
            user,
            order,
            account,
            state,
            code,
            facts or {},
            ago,
        )
        return flow

    async def left(
        self, trader: str, user: int, *, ago: timedelta = timedelta(hours=1), state: str = "succeeded"
    ) -> uuid.UUID:
        """A departure that was executed; open: one that waits for the day's end."""
        flow = await self.flow("trader.left", trader=trader, user=user, state=state, ago=ago)
        for key in (f"t:{trader}", f"u:{user}"):
            await self.firm.rows(
                "insert into departure (trader_key, flow_id, since, begun_at, ended)"
                " values ($1, $2, now() - $3::interval, case when $4 then now() - $3::interval end, $4)",
                key,
                flow,
                ago,
                state != "open",
            )
        return flow

    async def failed(self, trader: str, permissions: Sequence[int], **more: Any) -> uuid.UUID:
        """A `trader.failed` that has revoked these."""
        return await self.flow(
            "trader.failed", trader=trader, facts={"tradingPermissionIds": list(permissions)}, **more
        )
