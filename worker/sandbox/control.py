"""The control API: what a test or an operator of the sandbox sees and turns while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import parse_qsl

import orjson

from worker.errors import SandboxError
from worker.sandbox import desk_changes
from worker.sandbox.fault_rules import FaultError, RuleFault
from worker.sandbox.operation import Domain
from worker.sandbox.operations.accounts import LIVE_PERMISSION
from worker.sandbox.operations.alerts import NOISE_ALERT_ID, raise_alert, sign
from worker.sandbox.operations.applications import review
from worker.sandbox.operations.cancel import ended
from worker.sandbox.responses import Reply
from worker.sandbox.risk_events import happen
from worker.sandbox.switches import switch_values, with_switches
from worker.sandbox.world import TEMPLATES

if TYPE_CHECKING:
    from worker.sandbox.http_app import Sandbox

__all__ = ["Control"]

REVIEW_STATUSES = ("Preapproved", "Pending", "InReview", "InAMLReview", "Approved", "Denied")

Answer = Callable[[dict[str, Any]], Any]


class Control:
    """Each method is one control call; `handle` finds it by method and path."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._routes: dict[tuple[str, str], Answer] = {
            ("GET", "/control/state"): lambda _: self.state(),
            ("GET", "/control/effects"): lambda _: self.effects(),
            ("GET", "/control/calls"): lambda q: self.calls(last=int(q.get("last", 1000)), path=str(q.get("path", ""))),
            ("GET", "/control/overlaps"): lambda _: list(self._sandbox.core.calls.overlaps),
            ("GET", "/control/faults"): lambda _: self.faults(),
            ("POST", "/control/faults"): self.add_faults,
            ("DELETE", "/control/faults"): lambda q: {"removed": self._sandbox.core.faults.clear(q.get("id"))},
            ("GET", "/control/switches"): lambda _: switch_values(self._sandbox.config),
            ("POST", "/control/switches"): self.switch,
            ("POST", "/control/lockout"): lambda q: self.lockout(q.get("seconds")),
            ("POST", "/control/unlock"): lambda _: self.unlock(),
            ("POST", "/control/expire-tokens"): lambda _: self.expire_tokens(),
            ("POST", "/control/close-sessions"): lambda _: self.close_sessions(),
            ("POST", "/control/move"): self.move,
            ("POST", "/control/seed"): self.seed,
            ("POST", "/control/change"): self.change,
            ("POST", "/control/remove"): self.remove,
            ("POST", "/control/sign"): self.sign,
            ("POST", "/control/alert"): self.alert,
            ("POST", "/control/review"): self.review,
            ("POST", "/control/risk"): self.risk,
            ("POST", "/control/end-day"): lambda q: self.end_day(week=bool(q.get("week", False))),
            ("POST", "/control/drop-sockets"): lambda q: {
                "dropped": self._sandbox.core.hub.drop(q.get("domain"), gracefully=bool(q.get("gracefully", False)))
            },
            ("POST", "/control/shutdown"): lambda q: {
                "closed": self._sandbox.core.hub.shut_down(
                    str(q.get("reasonCode", "Maintenance")), q.get("reason"), q.get("domain")
                )
            },
            ("POST", "/control/reset"): lambda _: self.reset(),
        }

    def routes(self) -> list[tuple[str, str]]:
        """Return method and path of every control call."""
        return list(self._routes)

    def handle(self, method: str, path: str, raw_query: bytes, body: bytes) -> Reply:
        """Answer one control call as JSON; what cannot be understood is 400 with a sentence."""
        answer = self._routes.get((method, path.rstrip("/").lower()))
        if answer is None:
            known = any(path.rstrip("/").lower() == other for _, other in self._routes)
            return Reply(status=405 if known else 404, data={"error": "no such control call"})
        try:
            data = orjson.loads(body) if body.strip() else {}
            arguments = {**dict(parse_qsl(raw_query.decode("latin-1"))), **(_object(data, path))}
            return Reply(data=answer(arguments))
        except (SandboxError, ValueError, KeyError, TypeError) as error:  # also JSONDecodeError
            return Reply(status=400, data={"error": str(error)})

    # -- what is seen ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return counts: effects in all, what was made twice, sessions, budget, calls."""
        core, now = self._sandbox.core, self._sandbox.clock()
        core.tick(now)
        calls, sessions = core.calls, core.sessions
        return {
            "effects": core.effects.totals(),
            "twice": core.effects.twice(),
            "sessions": {
                "living": len(sessions.living(now)),
                "most_at_once": sessions.most_at_once,
                "evicted": sessions.counts["evicted"],
                "logins": sessions.counts["logins"],
                "failed_logins": sessions.counts["failed_logins"],
                "renewals": sessions.counts["renewals"],
            },
            "budget": {
                "used": core.budget.used(core.config, now),
                "limit": core.config.hourly_calls,
                "locked": core.budget.locked(now),
                "locked_seconds": max(0.0, core.budget.locked_until - now),
                "lockouts": core.budget.lockouts,
            },
            "tickets": {
                "issued": core.tickets.issued,
                "redeemed": core.tickets.redeemed,
                "early": core.tickets.early,
            },
            "sockets": {"open": len(core.hub.connections), **core.hub.counts},
            "calls": {
                "total": calls.total,
                "by_path": dict(calls.by_path),
                "items_by_path": dict(calls.items_by_path),
                "by_status": {str(status): count for status, count in calls.by_status.items()},
                "in_flight": len(calls.in_flight),
                "most_in_flight": calls.most_in_flight,
                "during_lockout": calls.during_lockout,
                "wrong_host": dict(calls.wrong_host),
                "same_trader_overlaps": calls.same_trader_overlaps,
                "same_trader_write_overlaps": calls.same_trader_write_overlaps,
            },
        }

    def effects(self) -> dict[str, Any]:
        core = self._sandbox.core
        core.tick(self._sandbox.clock())
        return {**core.effects.counts(), "twice": core.effects.twice()}

    def calls(self, *, last: int = 1000, path: str = "") -> list[dict[str, Any]]:
        """Return the last calls, oldest first; `path` keeps one operation only."""
        wanted = [r for r in self._sandbox.core.calls.records if not path or r.path == path.lower()]
        return [record.public() for record in wanted[-last:]]

    def faults(self) -> list[dict[str, Any]]:
        return [rule.public() for rule in self._sandbox.core.faults.rules]

    # -- what is turned --------------------------------------------------------------------------------------

    def add_faults(self, data: dict[str, Any]) -> dict[str, Any]:
        """Add one rule, or all of `faults`."""
        rules = data.get("faults", [data])
        if not isinstance(rules, list):
            raise FaultError(RuleFault.NO_LIST, "faults")
        return {"ids": [self._sandbox.core.faults.add(rule).id for rule in rules]}

    def switch(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change switches; they hold from the next call on."""
        core = self._sandbox.core
        core.config = with_switches(core.config, changes)
        return {name: getattr(core.config, name) for name in changes}

    def lockout(self, seconds: Any = None) -> dict[str, Any]:
        core, now = self._sandbox.core, self._sandbox.clock()
        core.lock_out(core.config.lockout_seconds if seconds is None else float(seconds), now)
        return {"locked_seconds": core.budget.locked_until - now}

    def unlock(self) -> dict[str, Any]:
        self._sandbox.core.budget.unlock()
        return {"locked_seconds": 0}

    def expire_tokens(self) -> dict[str, Any]:
        return {"expired": self._sandbox.core.sessions.expire_all(self._sandbox.clock())}

    def close_sessions(self) -> dict[str, Any]:
        return {"closed": self._sandbox.core.sessions.close_all(self._sandbox.clock())}

    def move(self, data: dict[str, Any]) -> dict[str, Any]:
        """Serve `domain` (demo) on another `port` (0, any free one) from now on; its sockets are cut, or with
        `keep_sockets` stay open and bring nothing any more. The old port answers as the switch `wrong_host` says, and a
        handshake there is refused with 421.
        """
        domain: Domain = data.get("domain", "demo")
        if domain not in get_args(Domain):
            raise ValueError("domain should be live or demo")
        try:
            port = self._sandbox.places.move(domain, int(data.get("port", 0)))
        except OSError as error:
            raise ValueError(f"the port cannot be opened ({error.strerror})") from None
        if data.get("keep_sockets", False):
            self._sandbox.core.hub.forget(domain)
        else:
            self._sandbox.core.hub.drop(domain)
        return {"domain": domain, "port": port}

    def seed(self, data: dict[str, Any]) -> dict[str, list[int]]:
        """Put entities there that nobody made by a call: `users` (name, email), `accounts` (name, balance; or how many
        of names of their own), `liveAccounts` (name), `permissions` (accountId, userId, status), `subscriptions`
        (userId, cancelledRenewal), `plugins` (userId, entitlementId); `foreign: true` makes users, accounts and
        permissions another organization's.
        """
        return desk_changes.seed(self._sandbox.core.world, data, self._sandbox.clock())

    def change(self, data: dict[str, Any]) -> dict[str, Any]:
        """Change fields of an entity, as people do at the partner's site: `entity`, `id`, and the fields."""
        return desk_changes.change(self._sandbox.core.world, data)

    def remove(self, data: dict[str, Any]) -> dict[str, Any]:
        """Remove entities: `entity`, `ids`; with a user, all that the user has."""
        return desk_changes.remove(self._sandbox.core.world, data)

    def sign(self, data: dict[str, Any]) -> dict[str, Any]:
        """Sign the Market Data Agreement for `userId`, or for each of `userIds`; each raises a signal.

        The trader's contact data are filled in if missing, as the partner's site asks for them first; `contact: false`
        leaves them out.
        """
        core, now = self._sandbox.core, self._sandbox.clock()
        users = data["userIds"] if "userIds" in data else [data["userId"]]
        signed: list[int] = []
        moment: list[dict[str, Any]] = []
        strays = core.config.stray_alerts
        for user_id in users:
            if user_id not in core.world.users.rows:
                raise KeyError(f"no user {user_id}")
            noise = range(core.config.noise_alerts)
            moment += [raise_alert(core.world, NOISE_ALERT_ID, user_id, "Margin call", now) for _ in noise]
            moment.append(sign(core.world, core.config, user_id, now, contact=bool(data.get("contact", True))))
            signed.append(moment[-1]["id"])
            if core.config.signal_entity == "object":
                core.hub.announce(core.config, moment, now, strays=strays)
                moment = []
        if moment:
            core.hub.announce(core.config, moment, now, strays=strays)
        return {"signalIds": signed}

    def alert(self, data: dict[str, Any]) -> dict[str, Any]:
        """Raise another admin alert: `adminAlertId`, `userId`, `text`."""
        alert_id = int(data.get("adminAlertId", NOISE_ALERT_ID))
        core, now = self._sandbox.core, self._sandbox.clock()
        signal = raise_alert(core.world, alert_id, int(data["userId"]), str(data.get("text", "Alert")), now)
        core.hub.announce(core.config, [signal], now)
        return {"signalId": signal["id"]}

    def review(self, data: dict[str, Any]) -> dict[str, Any]:
        """Decide a subaccount request: `requestId`, `status`, `message`, `accountId`."""
        if data.get("status") not in REVIEW_STATUSES:
            raise ValueError(f"status should be one of {', '.join(REVIEW_STATUSES)}")
        world = self._sandbox.core.world
        if data.get("requestId") not in world.requests.rows:
            raise KeyError(f"no request {data.get('requestId')}")
        now = self._sandbox.clock()
        request = review(world, data["requestId"], data["status"], data.get("message"), data.get("accountId"), now)
        return {name: request[name] for name in ("id", "status", "message", "accountId")}

    def risk(self, data: dict[str, Any]) -> dict[str, Any]:
        """Let `event` happen to `accountId`, or to each of `accountIds`: see `RISK_EVENTS`."""
        core = self._sandbox.core
        accounts = data["accountIds"] if "accountIds" in data else [data["accountId"]]
        event = str(data.get("event", "auto_liq"))
        return {"accountIds": happen(core.world, core.hub, core.config, accounts, event, self._sandbox.clock())}

    def end_day(self, *, week: bool = False) -> dict[str, Any]:
        """End the trading day: what was cancelled disappears, accounts without a permission are archived.

        With `week`, the week ends too, and its alert signals can no longer be read.
        """
        world = self._sandbox.core.world
        for table in (world.subscriptions, world.plugins, world.market_data):
            for row in [row for row in table.rows.values() if ended(row)]:
                table.remove(row["id"])
        archived = []
        for account in world.accounts.rows.values():
            live = any(row["status"] in LIVE_PERMISSION for row in world.permissions_on(account["id"]))
            if account["active"] and not live and account["id"] not in TEMPLATES:
                account["active"], account["closed"] = False, True
                archived.append(account["id"])
        if week:
            world.archived_signals.update(world.signals.rows)
        return {"archivedAccountIds": archived}

    def reset(self) -> dict[str, Any]:
        """Forget all entities, sessions, counts, calls and faults; switches stay."""
        self._sandbox.reset()
        return {"ok": True}


def _object(data: Any, path: str) -> dict[str, Any]:
    if isinstance(data, list) and path.rstrip("/").lower() == "/control/faults":
        return {"faults": data}
    if not isinstance(data, dict):
        raise FaultError(RuleFault.NO_CALL)
    return data
