"""How an admin alert signal is written on a socket: the shapes that the vendor names, and some that nobody can read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.sandbox.config import SandboxConfig, SignalForm
    from worker.sandbox.world import Row

__all__ = ["STRAY_FORMS", "events", "rows_that_make_no_sense"]

STRAY_FORMS: tuple[SignalForm, ...] = ("bad_id", "no_user", "null_entity", "unknown_wrapper")
"""The forms that alerts of the switch `stray_alerts` take in turn; each can stand in a list beside readable ones."""


def events(
    config: SandboxConfig, event_type: str, signals: Sequence[Row], *, wrapped: bool, strays: int
) -> list[dict[str, Any] | str]:
    """The `props` events that announce `signals`: objects for `d`, or whole frames where a frame is what is wrong.

    `strays` alerts that cannot be read come before them, or beside them in a list.
    """
    entities = [_entity(config, _STRAY, STRAY_FORMS[at % len(STRAY_FORMS)], wrapped=wrapped) for at in range(strays)]
    entities += [_entity(config, signal, config.signal_form, wrapped=wrapped) for signal in signals]
    entity_type = "OtherEnvAdminAlertSignal" if wrapped else "adminAlertSignal"
    if config.signal_form == "unknown_type":
        entity_type += "V2"
    if config.signal_entity == "list":
        written = [{"entityType": entity_type, "eventType": event_type, "entity": entities}] if entities else []
    else:
        written = [{"entityType": entity_type, "eventType": event_type, "entity": entity} for entity in entities]
    if config.signal_form == "cut_frame":
        return ["a" + orjson.dumps([{"e": "props", "d": event}]).decode()[:-9] for event in written]
    return list(written)


def rows_that_make_no_sense(config: SandboxConfig) -> list[Any]:
    """What stands beside the signals of a read, as many as the switch says."""
    forms = [_entity(config, _STRAY, form, wrapped=False) for form in STRAY_FORMS]
    return [forms[at % len(forms)] for at in range(config.unreadable_rows)]


_STRAY: Row = {
    "id": 7,
    "timestamp": "2026-11-03T15:18:56.885Z",
    "adminAlertId": 70,
    "relatedToUserId": 1,
    "text": "An alert in a form that nobody knows",
    "emailSent": False,
    "subjectId": 5,
}


def _entity(config: SandboxConfig, signal: Row, form: SignalForm, *, wrapped: bool) -> Any:
    sent = {**signal, "archived": False} if config.signal_archived_field else dict(signal)
    match form:
        case "bad_id":
            sent["id"] = f"s-{signal['id']}"
        case "no_user":
            sent["adminAlertId"] = config.mda_alert_id
            del sent["relatedToUserId"]
        case "null_entity":
            return None
        case "unknown_wrapper":
            return {"signal": sent}
        case "right" | "unknown_type" | "cut_frame":
            pass
    return {"adminAlertSignal": sent} if wrapped else sent
