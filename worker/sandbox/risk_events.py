"""What happens to an account's risk status by itself, without a call: a limit, its trader, an administrator, a tick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.sandbox.world import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.sandbox.config import SandboxConfig
    from worker.sandbox.sockets import Hub
    from worker.sandbox.world import Row, World

__all__ = ["RISK_EVENTS", "entity_of", "happen", "written"]

RISK_EVENTS = ("auto_liq", "trader_liq_only", "admin_lock", "unlock", "tick")
"""A limit liquidates the account; its trader closes it for opening orders; an administrator locks it; all of that ends,
as at the next open; the highest net value moves, as with each tick of a market."""

_EMPTY = ("autoLiqStarted", "autoLiqStopped", "liquidateOnly", "adminTimestamp")
"""Fields that a status does not have before something has happened."""


def happen(
    world: World, hub: Hub, config: SandboxConfig, account_ids: Iterable[int], event: str, now: float
) -> list[int]:
    """Let one of `RISK_EVENTS` happen to accounts, and tell the sockets; the accounts."""
    done = []
    for account_id in account_ids:
        if world.accounts.get(account_id) is None:
            raise KeyError(f"no account {account_id}")
        row = world.risk_statuses.rows[account_id]
        row.update(_change(row, event, iso(now)))
        if event == "unlock":
            row.pop("liquidateOnly", None)
        hub.entity(config, "demo", "accountRiskStatus", "Updated", row)
        done.append(account_id)
    return done


def _change(row: Row, event: str, at: str) -> Row:
    match event:
        case "auto_liq":
            counter = row["autoLiqCounter"] + 1
            return {"autoLiqCounter": counter, "autoLiqStarted": at, "autoLiqStopped": at, "liquidateOnly": at}
        case "trader_liq_only":
            return {"liquidateOnly": at, "userTriggeredLiqOnly": True}
        case "admin_lock":
            return {"adminAction": "LockTradingImmediately", "adminTimestamp": at}
        case "unlock":
            return {"userTriggeredLiqOnly": False, "adminAction": "Normal"}
        case "tick":
            return {"maxNetLiq": row["maxNetLiq"] + 12.5, "maxNetLiqTimestamp": at}
        case _:
            pass
    raise ValueError(f"event should be one of {', '.join(RISK_EVENTS)}")


def written(config: SandboxConfig, row: Row) -> Row:
    """The row as a socket writes it: fields without a value left out, or null."""
    return row if config.risk_empty == "absent" else {**dict.fromkeys(_EMPTY), **row}


def entity_of(config: SandboxConfig, row: Row) -> Any:
    """The row as `entity` of an event."""
    sent = written(config, row)
    match config.risk_entity:
        case "object":
            return sent
        case "list":
            return [sent]
        case "wrapped":
            return {"accountRiskStatus": sent}
