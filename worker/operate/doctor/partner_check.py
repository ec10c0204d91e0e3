"""Tradovate's checks: reachable, session, plan, template accounts, entitlement, alert. Reads only.

A live shared session is used as it is, and the password is then not tried. Without one a login is made, once: after a
rejection the hold keeps all programs, this one too, from trying again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from schemas.events import Account
from schemas.times import Clock, utc_text
from worker.ledger import orders
from worker.ledger.budget import Budget
from worker.ledger.call_log import not_permitted
from worker.ledger.database import Database
from worker.operate.doctor.believed_reads import DoctorReads
from worker.operate.doctor.findings import Finding, failed, ok, skipped, warning
from worker.partner.client import PartnerClient
from worker.partner.permission_classes import access_of
from worker.replies import Domain
from worker.session import NoSession, SessionKeeper
from worker.settings import RunSettings

MDA_EVENT = "custapp:nonpro-signed"
"""The admin alert's name (vendor, Market Data Agreement)."""


@dataclass(slots=True)
class Partner:
    """What the checks need."""

    settings: RunSettings
    database: Database
    client: PartnerClient
    session: SessionKeeper
    budget: Budget
    name: str
    clock: Clock = utc_text
    _reads: DoctorReads = field(init=False)

    async def checks(self, products: Mapping[str, Account]) -> AsyncIterator[Finding]:
        """All of them; without a session only the first."""
        shared = await self.session.refresh()
        try:
            token = await self.session.ensure()
        except NoSession as none:
            fix = {
                "login": "correct TRADOVATE_NAME, TRADOVATE_PASSWORD, TRADOVATE_CID and TRADOVATE_SEC, or do what"
                " Tradovate asks for; then `tradovate-worker holds list` and `holds clear`",
                "all": "wait for the end of the lock-out",
            }.get(none.scope, "correct TRADOVATE_LIVE_URL or wait; `tradovate-worker holds list` tells more")
            yield failed("tradovate login", none.why, fix)
            for check in (
                "subscription plan",
                "template accounts",
                "risk limits",
                "entitlement",
                "alert",
                "permissions of the key",
            ):
                yield skipped(check, "no session")
            return
        if shared is not None:
            yield ok("tradovate login", "the shared session lives and was used; the password was not tried")
        else:
            yield ok("tradovate login", f"accepted; the session lives until {self.clock(token.expires_at)}")
        self._reads = DoctorReads(
            self.settings, self.database, self.client, self.session, self.budget, self.name, token
        )
        yield await self._plan()
        async for finding in self._templates(products):
            yield finding
        yield await self._entitlement()
        yield await self._alert()
        yield await self._risks(products)
        yield await self._permissions()
        if self._reads.none_permitted:
            yield failed(
                "permissions",
                "the login was accepted, but every read was answered 401",
                "approve the new device (Tradovate sends an e-mail), and look at the permissions of the API key",
            )

    async def _plan(self) -> Finding:
        wanted = self.settings.tradovate_subscription_plan_id
        plans = await self._reads.of_many(Domain.LIVE, "/tradovateSubscriptionPlan/list")
        if isinstance(plans, str):
            return failed("subscription plan", plans, "see Tradovate's answer")
        plan = next((plan for plan in plans if plan.get("id") == wanted), None)
        if plan is None:
            known = ", ".join(f"{each.get('id')} {each.get('name')}" for each in plans)
            fix = (
                f"set TRADOVATE_SUBSCRIPTION_PLAN_ID to one of: {known}"
                if known
                else "ask Tradovate for the firm's plan"
            )
            return failed("subscription plan", f"{wanted} is not among the firm's plans", fix)
        return ok("subscription plan", f"{wanted} {plan.get('name')}")

    async def _templates(self, products: Mapping[str, Account]) -> AsyncIterator[Finding]:
        if not products:
            yield skipped("template accounts", "no PRODUCTS_FILE: events name their templates themselves")
            return
        for product, account in products.items():
            template = account.template_account_id
            found = await self._reads.item(Domain.DEMO, "account", template)
            check = f"template of {product}"
            if isinstance(found, str):
                yield failed(check, found, "see Tradovate's answer")
            elif found is None:
                yield failed(check, f"account {template} is not there on DEMO", "correct it in PRODUCTS_FILE")
            else:
                yield ok(check, f"{template} {found.get('name')}")

    async def _risks(self, products: Mapping[str, Account]) -> Finding:
        """Whether the key may read risks, by an account that is the firm's. What it may change, no read shows."""
        check, events = "risk limits", "`risk.changed`, `account.locked` and `account.unlocked`"
        account = next((account.template_account_id for account in products.values()), None)
        if account is None:
            async with self.database.connection() as connection:
                account = await orders.last_account(connection)
        if account is None:
            return skipped(check, "neither PRODUCTS_FILE nor the ledger names an account of the firm to ask for")
        found = await self._reads.of_many(Domain.DEMO, "/accountRiskStatus/deps", masterid=account)
        if not isinstance(found, str):
            return ok(check, f"the key may read them; {events} need Risks: FullAccess")
        if self.settings.bridge_risk_status:
            fix = f"give the API key Risks: Read (FullAccess for {events}) at Tradovate, or set BRIDGE_RISK_STATUS=off"
            return failed(check, found, fix)
        return warning(check, found, f"give the API key Risks: FullAccess at Tradovate, if you use {events}")

    async def _entitlement(self) -> Finding:
        wanted = self.settings.tradovate_tprop_entitlement_id
        if wanted is None:
            return warning(
                "entitlement",
                "TRADOVATE_TPROP_ENTITLEMENT_ID is not set",
                "set it, unless every `md.signed` event names its entitlement",
            )
        found = await self._reads.item(Domain.LIVE, "entitlement", wanted)
        if isinstance(found, str):
            return failed("entitlement", found, "see Tradovate's answer")
        if found is None:
            return failed("entitlement", f"{wanted} is not there", "correct TRADOVATE_TPROP_ENTITLEMENT_ID")
        return ok("entitlement", f"{wanted} {found.get('name')}")

    async def _alert(self) -> Finding:
        wanted = self.settings.mda_alert_id
        found = await self._reads.find(Domain.LIVE, "adminAlert", MDA_EVENT)
        if isinstance(found, str):
            return warning("alert", found, "see Tradovate's answer")
        if found is None:
            return warning(
                "alert", f"{MDA_EVENT} was not found by its name", f"check that alert {wanted} is the right one"
            )
        if found.get("id") != wanted:
            seen = f"{MDA_EVENT} is alert {found.get('id')}, the settings say {wanted}"
            return failed("alert", seen, f"set TRADOVATE_MDA_ALERT_ID={found.get('id')}, or TRADOVATE_ENVIRONMENT")
        return ok("alert", f"{wanted} {MDA_EVENT}")

    async def _permissions(self) -> Finding:
        async with self.database.connection() as connection:
            refused = await not_permitted(connection)
        if not refused:
            return ok("permissions of the key", "no endpoint has answered 401 to a good token in the last hour")
        needs = ", ".join(f"{endpoint} ({access_of(endpoint)})" for endpoint in refused)
        return failed(
            "permissions of the key",
            f"answered 401 with a good token: {needs}",
            "give the API key these permission classes at Tradovate, or approve its new device",
        )
