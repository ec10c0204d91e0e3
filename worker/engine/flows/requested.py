"""`permission.requested`: an account holder asks for a trader; one already requested or accepted is success."""

from __future__ import annotations

from schemas.events import PermissionRequested
from worker.engine.facts import Facts
from worker.engine.flows.base import SUCCEEDED, Item, Names, Planned, Rules, Send, View, WithoutOrder, of_type
from worker.engine.flows.common import ended_by, permitted
from worker.engine.flows.departing import stopped
from worker.results import Result, Succeeded

REQUEST = "requestTradingPermission"


class PermissionRequest(WithoutOrder):
    """A permission is asked for."""

    topic = "permission.requested"
    facts = Facts

    def names(self, event: PermissionRequested) -> Names:
        """The account."""
        return Names(account_id=event.account_id, gives=True)

    def plan(self, view: View, _rules: Rules) -> Planned:
        """Looks first: twenty refused requests an hour are all that the partner allows, and a repeat is refused."""
        facts = view.facts.new_round()
        if facts.trading_permission_id is not None:
            return Planned(SUCCEEDED, facts)
        return Planned(stopped(view) or Send(REQUEST, look_first=True), facts)

    def learn(self, view: View, _operation: str, result: Result) -> Planned | Facts:
        """The permission's id, or the refusal word by word."""
        if not isinstance(result, Succeeded):
            return ended_by(result, view.facts)
        return permitted(view.facts, result.value["tradingPermissionId"], result.value.get("permissionStatus"))

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """The account, and whom the permission is for."""
        event = of_type(view.event, PermissionRequested)
        return {"accountId": event.account_id, "ctaContact": event.cta_contact, "ctaEmail": event.cta_email}
