"""cancelEverything, on LIVE and on DEMO: up to 100 users a call, verified by what the users still have.

The answer lists what was cancelled just now and nothing else: foreign users are ignored in silence, and what was gone
before is not documented. So no id in it, or missing in it, proves anything; what proves it is a look at the four
entities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from schemas.chicago import day_in_chicago
from schemas.permission_status import PERMISSION_ENDED
from worker.partner.bulk_reads import dependents, readable
from worker.partner.operation import Batching, Item, Limits, Operation, Reader, Recovery, Resend, Response
from worker.partner.operations._shared import MOST, Rank, day_of, user
from worker.partner.read_errors import ReadFault, Unreadable
from worker.partner.single_reads import is_id
from worker.replies import Domain
from worker.results import NotExecuted, Result, Succeeded, Unknown

Row = Mapping[str, Any]

RETRY_FOR = 300.0
"""Seconds that one domain is tried before the flow turns to the other one: a domain that is away must not keep the
trader in the other. The flow comes back to it."""

_ANSWERED = ("tradovateSubscriptionIds", "userPluginIds", "marketDataSubscriptionIds", "tradingPermissionIds")


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    # What a missing flag means differs from page to page: all four are always sent.
    return {
        "userIds": list(dict.fromkeys(item["userId"] for item in items)),
        "tradovateSubscriptions": True,
        "userPlugins": True,
        "marketDataSubscriptions": True,
        "tradingPermissions": True,
    }


def _results(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
    if all(is_id(each) for name in _ANSWERED for each in body[name]):
        return [Unknown("carried out; to be verified", timedelta(0))] * len(items)
    return [Unknown("lists of something else than ids")] * len(items)


def _over(value: Any, today: date) -> bool:
    day = day_of(value)
    return day is not None and day <= today


def _subscription_ended(row: Row, today: date) -> bool:
    return row.get("cancelledRenewal") is True or _over(row.get("expirationDate"), today)


def _plugin_ended(row: Row, today: date) -> bool:
    renewed = row.get("autorenewal") is not False and row.get("approval") is not False
    return not renewed or _over(row.get("expirationDate"), today)


def _market_data_ended(row: Row, today: date) -> bool:
    """A row is for one month, and those of former months keep `expired: false`. The next month's, which the renewal has
    made on this month's last evening, are in force like this month's.
    """
    year, month = row.get("year"), row.get("month")
    if row.get("expired") is True:
        return True
    if type(year) is not int or type(month) is not int:
        raise Unreadable(ReadFault.NO_MONTH, str(row["id"]))
    return (year, month) < (today.year, today.month)


def _permission_ended(row: Row, _today: date) -> bool:
    return row.get("status") in PERMISSION_ENDED


Ended = Callable[[Row, date], bool]

_ENTITIES: Mapping[Domain, Mapping[str, Ended]] = {
    Domain.LIVE: {
        "tradovateSubscription": _subscription_ended,
        "userPlugin": _plugin_ended,
        "marketDataSubscription": _market_data_ended,
    },
    Domain.DEMO: {"tradingPermission": _permission_ended},
}
"""What each domain keeps of a user, and when it counts as gone. A user to whom this worker has given an account of LIVE
has a trading permission there too.
"""

ENDED: Mapping[str, Ended] = {entity: ended for each in _ENTITIES.values() for entity, ended in each.items()}
"""The same by entity: whether a row has ended on a day, so that nothing renews. May raise `Unreadable`."""


def _declare(name: str, domain: Domain) -> Operation:
    async def look_up(reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
        """Gone is what is not there, or is marked as ended: the vendor does not say which of both it will be."""
        today = day_in_chicago(reader.now())
        results: dict[int, Result] = {item["userId"]: Succeeded() for item in items}
        permitted = [item["userId"] for item in items if item.get("_permitted_on_live")]
        entities = [(entity, ended, list(results)) for entity, ended in _ENTITIES[domain].items()]
        if domain is Domain.LIVE and permitted:
            entities.append(("tradingPermission", _permission_ended, permitted))
        for entity, ended, users in entities:
            for user_id, rows in (await dependents(reader, domain, entity, users)).items():
                try:
                    gone = all(ended(row, today) for row in readable(rows))
                except Unreadable as unreadable:
                    results[user_id] = Unknown(str(unreadable))
                    continue
                if not gone and isinstance(results[user_id], Succeeded):
                    results[user_id] = NotExecuted()
        return [results[item["userId"]] for item in items]

    return Operation(
        name=name,
        domain=domain,
        path="/user/canceleverything",
        request=_request,
        response=Response(dict.fromkeys(_ANSWERED, list), _results),
        batching=Batching(
            most=MOST,  # the vendor recommends 100 to 500
            lingers=True,
        ),
        recovery=Recovery(
            resend=Resend.AFTER_LOOK_UP,  # harmless to repeat, and verified by the look in any case
            needs=user,
            look_up=look_up,
            retry_for=RETRY_FOR,
        ),
        limits=Limits(rank=Rank.DEPARTURE, maintenance=False),
    )


CANCEL_LIVE = _declare("cancelEverything", Domain.LIVE)
CANCEL_DEMO = _declare("cancelEverything@demo", Domain.DEMO)
