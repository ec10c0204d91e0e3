"""Admin alert signals in a `props` event. Pure; each item of an event is judged by itself.

The vendor knows several shapes: `d` is an event or a list of events, `entity` is an alert or a list of alerts, and an
alert may stand in a wrapper named `adminAlertSignal`. What may be an alert and is in no known shape is
`UnreadableFrame`: the bridge then asks the partner for the alerts themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from worker.partner._json import clean_json
from worker.partner.socket_actions import Alert, Changed, UnreadableFrame

__all__ = ["alerts_in", "signals_in"]

_SIGNALS = frozenset({"adminalertsignal", "otherenvadminalertsignal"})
_NO_SIGNALS = frozenset({"adminalert"})
"""Entity types that name alerts and are no signals: `adminAlert` is the list of the kinds of alerts."""

_WRAPPER = "adminAlertSignal"


def alerts_in(body: Any) -> Iterator[Alert | Changed | UnreadableFrame]:
    """The alerts in `d` of a `props` event; nothing for events of other entities."""
    for event in body if isinstance(body, list) else [body]:
        yield from _alerts_of(event)


def signals_in(entity: Any) -> Iterator[Any]:
    """The alert signals of an `entity`, or of the response to a read, without their wrappers; what is not an object is
    returned as it came.
    """
    for item in entity if isinstance(entity, list) else [entity]:
        inner = item[_WRAPPER] if isinstance(item, dict) and _WRAPPER in item else item
        yield from inner if isinstance(inner, list) else [inner]


def _alerts_of(event: Any) -> Iterator[Alert | Changed | UnreadableFrame]:
    kind = event.get("entityType") if isinstance(event, dict) else None
    if not isinstance(kind, str):
        yield UnreadableFrame("an event without an entityType")
        return
    kind = kind.lower()
    if kind not in _SIGNALS:
        if "alert" in kind and kind not in _NO_SIGNALS:
            yield UnreadableFrame("an entityType that names alerts and is not known")
        return
    event_type = str(event.get("eventType")).lower()
    if event_type in ("updated", "deleted"):
        yield Changed()
    elif event_type != "created":
        yield UnreadableFrame("an eventType that is not known")
    else:
        for signal in map(clean_json, signals_in(event.get("entity"))):
            yield Alert(signal) if isinstance(signal, dict) else UnreadableFrame("an alert without its signal")
