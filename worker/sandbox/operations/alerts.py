"""Admin alert signals: raised when an agreement is signed, readable for the current week (admin alert pages)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from schemas.chicago import CHICAGO
from worker.sandbox.fields import check
from worker.sandbox.operation import Call, Operation
from worker.sandbox.responses import Reply, ok, refusal, violations
from worker.sandbox.vendor_texts import message
from worker.sandbox.world import iso

if TYPE_CHECKING:
    from worker.sandbox.config import SandboxConfig
    from worker.sandbox.world import Row, World

__all__ = ["OPERATIONS", "raise_alert", "readable", "sign"]

NOISE_ALERT_ID = 12


def sign(world: World, config: SandboxConfig, user_id: int, now: float, *, contact: bool = True) -> Row:
    """Sign the Market Data Agreement as the trader does; their contact data exist by then.

    :raises KeyError: no such user.
    """
    user = world.users.rows[user_id]
    if contact and not world.contacts.of(user_id):
        world.contacts.add(
            {
                "userId": user_id,
                "firstName": "Sandbox",
                "lastName": "Trader",
                "streetAddress1": "1 Main St",
                "city": "Austin",
                "state": "TX",
                "country": "US",
                "phone": "+15125550100",
            }
        )
    world.signed.add(user_id)
    moment = datetime.fromtimestamp(now, CHICAGO)
    text = (
        f"User {user['name']} signed non-professional market data form, <br />User name: {user['name']} "
        f"<br />Date: {moment:%m/%d/%Y} <br />"
    )
    return raise_alert(world, config.mda_alert_id, user_id, text, now)


def raise_alert(world: World, alert_id: int, user_id: int, text: str, now: float) -> Row:
    return world.signals.add(
        {
            "timestamp": iso(now),
            "adminAlertId": alert_id,
            "relatedToUserId": user_id,
            "text": text,
            "emailSent": False,
            "subjectId": 12081,
        }
    )


def readable(call: Call, signal: Row) -> bool:
    """A signal is archived at the end of its week, which ends in the maintenance window of Saturday night."""
    return signal["id"] not in call.world.archived_signals and _week(signal["timestamp"]) == _week(iso(call.now))


def _week(timestamp: str) -> str:
    day = datetime.fromisoformat(timestamp).astimezone(CHICAGO).date()
    return (day - timedelta(days=(day.weekday() + 1) % 7)).isoformat()


def _marked(call: Call, field: str) -> Reply:
    problems = check(call.body, {"adminAlertSignalId": int})
    if problems:
        return violations(call.config, problems)
    signal = call.world.signals.get(call.body["adminAlertSignalId"])
    if signal is None:
        return refusal(message(call.config, "unknown_signal"))
    signal[field] = iso(call.now)
    return ok(call.config, adminAlertSignal=signal)


OPERATIONS = {
    "/adminalertsignal/completealertsignal": Operation(lambda call: _marked(call, "completed")),
    "/adminalertsignal/takealertsignalownership": Operation(lambda call: _marked(call, "claimedAt")),
}
