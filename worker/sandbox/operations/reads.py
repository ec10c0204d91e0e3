"""The common queries: item, items, find, finds, list, deps, ldeps, suggest (architecture overview)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from worker.sandbox.announcing import rows_that_make_no_sense
from worker.sandbox.fields import Malformed, ids_of
from worker.sandbox.operation import Call, Domain, Operation
from worker.sandbox.operations.alerts import readable
from worker.sandbox.operations.risk import shown, touched
from worker.sandbox.responses import Reply, raw, violations
from worker.sandbox.world import Row, Table, World

__all__ = ["OPERATIONS"]

NOT_FOUND = raw(404)


@dataclass(frozen=True, slots=True)
class ReadableEntity:
    """One kind of entity: where it is kept, on which domain it is seen, which queries it has."""

    table: Callable[[World], Table]
    verbs: str
    domains: tuple[Domain, ...] = ("live", "demo")
    master: Callable[[World], Table] | None = None
    only: Callable[[Call, Row], bool] | None = None
    of_risks: bool = False
    on_live: Callable[[World], Table] | None = None
    """The table of LIVE, where that is another one than DEMO's."""

    def table_of(self, call: Call) -> Table:
        """The table that the call's domain reads."""
        return (
            self.on_live(call.world) if self.on_live is not None and call.domain == "live" else self.table(call.world)
        )

    def rows(self, call: Call, rows: Iterable[Row]) -> list[Row]:
        """Return those of `rows` that are seen on the call's domain, today."""
        if call.domain not in self.domains:
            return []
        if self.of_risks:
            rows = (shown(call, row) for row in rows)
        return [row for row in rows if self.only(call, row)] if self.only is not None else list(rows)


_USERS: Callable[[World], Table] = lambda world: world.users  # noqa: E731 - a table of names beside its selectors
_NAMED = "item items find list suggest"
_OF_USER = "item items list deps ldeps"


def _signal_seen(call: Call, signal: Row) -> bool:
    return call.config.signals_rest in ("both", call.domain) and readable(call, signal)


def _risk_seen(call: Call, row: Row) -> bool:
    return call.config.risk_rows == "always" or touched(row)


ENTITIES = {
    "user": ReadableEntity(_USERS, f"{_NAMED} finds"),
    "account": ReadableEntity(
        lambda w: w.accounts, f"{_NAMED} finds deps ldeps", master=_USERS, on_live=lambda w: w.live_accounts
    ),
    "tradingpermission": ReadableEntity(
        lambda w: w.permissions, _OF_USER, master=_USERS, on_live=lambda w: w.live_permissions
    ),
    "contactinfo": ReadableEntity(lambda w: w.contacts, "item items deps ldeps", ("live",), _USERS),
    "tradovatesubscription": ReadableEntity(lambda w: w.subscriptions, _OF_USER, ("live",), _USERS),
    "tradovatesubscriptionplan": ReadableEntity(lambda w: w.plans, _NAMED),
    "userplugin": ReadableEntity(lambda w: w.plugins, _OF_USER, ("live",), _USERS),
    "entitlement": ReadableEntity(lambda w: w.entitlements, "item items list find"),
    "marketdatasubscription": ReadableEntity(lambda w: w.market_data, _OF_USER, ("live",), _USERS),
    "marketdatasubscriptionplan": ReadableEntity(lambda w: w.market_data_plans, _NAMED),
    "adminalertsignal": ReadableEntity(lambda w: w.signals, _OF_USER, master=lambda w: w.alerts, only=_signal_seen),
    "adminalert": ReadableEntity(lambda w: w.alerts, f"{_NAMED} finds"),
    "accountriskstatus": ReadableEntity(
        lambda w: w.risk_statuses, _OF_USER, ("demo",), lambda w: w.accounts, _risk_seen, of_risks=True
    ),
    "useraccountautoliq": ReadableEntity(
        lambda w: w.auto_liqs, _OF_USER, ("demo",), lambda w: w.accounts, _risk_seen, of_risks=True
    ),
}


def _id(call: Call, name: str) -> int | None:
    """Read a number out of the query, or out of a body as sockets may send it."""
    value: Any = call.query.get(name, call.body.get(name))
    if value is None or value == "":
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Malformed(name) from None


def _ids(call: Call, name: str) -> list[int] | None:
    value: Any = call.query.get(name, call.body.get(name))
    if value is None or value == "":
        return None
    return ids_of(",".join(map(str, value)) if isinstance(value, list) else str(value))


def _missing(call: Call, name: str, title: str) -> Reply:
    return violations(call.config, [(name, f"{title} should be specified")])


def _item(entity: ReadableEntity, call: Call) -> Reply:
    row_id = _id(call, "id")
    if row_id is None:
        return _missing(call, "id", "Id")
    row = entity.table_of(call).get(row_id)
    found = entity.rows(call, [] if row is None else [row])
    return Reply(data=found[0]) if found else NOT_FOUND


def _items(entity: ReadableEntity, call: Call) -> Reply:
    ids = _ids(call, "ids")
    if ids is None:
        return _missing(call, "ids", "Ids")
    if 0 < call.config.items_max_ids < len(ids):
        return NOT_FOUND
    table = entity.table_of(call)
    found = entity.rows(call, [row for row in map(table.get, dict.fromkeys(ids)) if row is not None])
    return _cut(call, found[::-1] if call.config.items_reversed else found)


def _cut(call: Call, rows: list[Row]) -> Reply:
    """What an answer to a bulk read holds: "fewer may return" than was asked for."""
    return Reply(data=rows[: call.config.bulk_max_rows or None])


def _find(entity: ReadableEntity, call: Call) -> Reply:
    name = call.query.get("name", call.body.get("name"))
    if not name:
        return _missing(call, "name", "Name")
    table = entity.table_of(call)
    rows = entity.rows(call, (row for row in table.named(str(name)) if row["id"] not in table.foreign))
    return Reply(data=rows[0]) if rows else _nothing(call)


def _nothing(call: Call) -> Reply:
    match call.config.find_nothing:
        case "404":
            return NOT_FOUND
        case "null":
            return Reply(data=None)
        case "object":
            return Reply(data={})
        case "list":
            return Reply(data=[])
        case "empty":
            return raw(200)


def _finds(entity: ReadableEntity, call: Call) -> Reply:
    if not call.config.finds_supported:
        return NOT_FOUND
    value: Any = call.query.get("names", call.body.get("names"))
    if not value:
        return _missing(call, "names", "Names")
    names = value if isinstance(value, list) else str(value).split("\n" if call.config.finds_repeats else ",")
    if 0 < call.config.finds_max_names < len(names):
        return NOT_FOUND
    table = entity.table_of(call)
    found = [row for name in dict.fromkeys(names) for row in table.named(str(name)) if row["id"] not in table.foreign]
    rows = entity.rows(call, found)
    if not rows and call.config.finds_nothing != "list":
        nothing = {"404": NOT_FOUND, "null": Reply(data=None), "object": Reply(data={})}
        return nothing[call.config.finds_nothing]
    return _cut(call, rows[::-1] if call.config.finds_reversed else rows)


def _list(entity: ReadableEntity, call: Call) -> Reply:
    return Reply(data=entity.rows(call, entity.table_of(call).visible()))


def _dependents(entity: ReadableEntity, call: Call, masters: list[int]) -> Reply:
    table, master_table = entity.table_of(call), entity.master
    if call.config.deps_unknown_master == "404" and master_table is not None:
        known = master_table(call.world)
        if any(known.get(master) is None for master in masters):
            return NOT_FOUND
    found = entity.rows(call, (row for master in dict.fromkeys(masters) for row in table.of(master)))
    strange = rows_that_make_no_sense(call.config) if entity is ENTITIES["adminalertsignal"] else []
    return Reply(data=[*strange, *found])


def _deps(entity: ReadableEntity, call: Call) -> Reply:
    master = _id(call, "masterid")
    return _missing(call, "masterid", "Masterid") if master is None else _dependents(entity, call, [master])


def _ldeps(entity: ReadableEntity, call: Call) -> Reply:
    masters = _ids(call, "masterids")
    if not call.config.ldeps_supported or 0 < call.config.ldeps_max_ids < len(masters or ()):
        return NOT_FOUND
    if masters is None:
        return _missing(call, "masterids", "Masterids")
    found = _dependents(entity, call, masters)
    return _cut(call, found.data) if isinstance(found.data, list) else found


def _suggest(entity: ReadableEntity, call: Call) -> Reply:
    wanted, most = call.query.get("t", call.body.get("t")), _id(call, "l")
    if not wanted:
        return _missing(call, "t", "T")
    if most is None:
        return _missing(call, "l", "L")
    needle = str(wanted).casefold()
    rows = entity.rows(call, entity.table_of(call).visible())
    found = [
        row for row in rows if any(isinstance(value, str) and needle in value.casefold() for value in row.values())
    ]
    return Reply(data=found[:most])


_VERBS: dict[str, Callable[[ReadableEntity, Call], Reply]] = {
    "item": _item,
    "items": _items,
    "find": _find,
    "finds": _finds,
    "list": _list,
    "deps": _deps,
    "ldeps": _ldeps,
    "suggest": _suggest,
}


def _operation(entity: ReadableEntity, verb: str) -> Operation:
    answer = _VERBS[verb]
    return Operation(lambda call: answer(entity, call), writes=False, risks="Read" if entity.of_risks else "")


OPERATIONS = {
    f"/{name}/{verb}": _operation(entity, verb) for name, entity in ENTITIES.items() for verb in entity.verbs.split()
}
