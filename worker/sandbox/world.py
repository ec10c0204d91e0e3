"""What exists at the simulated partner: tables of entities in the shapes of the vendor's entity reference."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from schemas.chicago import CHICAGO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.sandbox.config import SandboxConfig

__all__ = ["ADMIN_ID", "ORGANIZATION_ID", "Row", "Table", "World", "iso", "trade_date"]

Row = dict[str, Any]

ADMIN_ID = 1001
"""User id of the organization's API user."""

ORGANIZATION_ID = 77
TEMPLATES = {11: 50_000, 12: 100_000, 13: 150_000}
"""Template accounts that the partner's support prepared, with their size: accounts of DEMO like any other."""

GROUP_TRADE = 22
"""The entitlement that makes a whole batch of new users fail (users page)."""

CMEGROUP_TOP = 7
"""Market data plan that comes with T-Prop by itself (market data renewals page)."""


@lru_cache(maxsize=256)
def iso(now: float) -> str:
    """Return a time the way the partner writes it: milliseconds and Z."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def trade_date(now: float, *, days: int = 0) -> dict[str, int]:
    """Return the TradeDate of a moment, some days later: Chicago's date."""
    day = datetime.fromtimestamp(now + days * 86_400, CHICAGO)
    return {"year": day.year, "month": day.month, "day": day.day}


class Table:
    """The entities of one kind. `find` goes by name, `deps` by the master that the vendor's schema gives the kind."""

    def __init__(self, first_id: int, *, master: str | None = None, fold_case: bool = False) -> None:
        self.rows: dict[int, Row] = {}
        self.foreign: set[int] = set()
        self._next = first_id
        self._master = master
        self._fold = fold_case
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._by_master: dict[int, list[int]] = defaultdict(list)

    def add(self, row: Row, *, foreign: bool = False, row_id: int | None = None) -> Row:
        """Keep `row` under a new id; `foreign` means that it belongs to another organization."""
        if row_id is None:
            row_id, self._next = self._next, self._next + 1
        made = {"id": row_id, **row}
        self.rows[row_id] = made
        if foreign:
            self.foreign.add(row_id)
        if "name" in made:
            self._by_name[self._key(made["name"])].append(row_id)
        if self._master is not None:
            self._by_master[made[self._master]].append(row_id)
        return made

    def remove(self, row_id: int) -> None:
        row = self.rows.pop(row_id)
        self.foreign.discard(row_id)
        if "name" in row:
            self._by_name[self._key(row["name"])].remove(row_id)
        if self._master is not None:
            self._by_master[row[self._master]].remove(row_id)

    def get(self, row_id: object) -> Row | None:
        """Return the entity if the organization can see it."""
        return None if row_id in self.foreign else self.rows.get(row_id)  # type: ignore[call-overload]

    def named(self, name: str) -> list[Row]:
        """Return every entity of that name, of whichever organization."""
        return [self.rows[row_id] for row_id in self._by_name.get(self._key(name), ())]

    def of(self, master: int) -> list[Row]:
        """Return the visible dependents of one master, oldest first."""
        return [self.rows[row_id] for row_id in self._by_master.get(master, ()) if row_id not in self.foreign]

    def visible(self) -> Iterator[Row]:
        return (row for row_id, row in self.rows.items() if row_id not in self.foreign)

    def _key(self, name: str) -> str:
        return name.casefold() if self._fold else name


class World:
    """All tables, and the few entities that are there from the start."""

    def __init__(self, config: SandboxConfig, now: float) -> None:
        self.users = Table(29721, fold_case=config.user_names_fold_case)
        self.emails: dict[str, int] = {}
        self.user_born: dict[int, float] = {}
        self.accounts = Table(98765, master="userId")
        # Of each account one row, whose id is the account's (observed).
        self.risk_statuses = Table(1, master="id")
        self.auto_liqs = Table(1, master="id")
        self.risk_unseen: dict[tuple[bool, int], tuple[float, Row]] = {}
        self.permissions = Table(54321, master="userId")
        self.permissions_of_account: dict[int, list[int]] = defaultdict(list)
        self.live_accounts = Table(7_000_000, master="userId")
        self.live_permissions = Table(54321, master="userId")
        self.contacts = Table(12081, master="userId")
        self.plans = Table(301)
        self.subscriptions = Table(61001, master="userId")
        self.entitlements = Table(1)
        self.plugins = Table(71001, master="userId")
        self.market_data_plans = Table(CMEGROUP_TOP)
        self.market_data = Table(81001, master="userId")
        self.alerts = Table(1)
        self.signals = Table(2179591, master="adminAlertId")
        self.documents = Table(41001)
        self.requests = Table(5001)
        self.signed: set[int] = set()
        self.archived_signals: set[int] = set()
        self._furnish(config, now)

    def _furnish(self, config: SandboxConfig, now: float) -> None:
        self.add_user(config.name, f"{config.name}@sandbox.invalid", now, user_id=ADMIN_ID)
        self.plans.add(_plan(config.plan_name))
        self.plans.add(_plan("ANOTHER_FIRM_MONTHLY"), foreign=True)
        for entitlement_id, name in (
            (config.t_prop_entitlement_id, "T-Prop"),
            (GROUP_TRADE, "GroupTrade"),
            (60, "TradingView"),
            (85, "Live+"),
        ):
            self.entitlements.add(
                {
                    "title": name,
                    "name": name,
                    "price": 0.0,
                    "duration": 1,
                    "durationUnits": "Month",
                    "requiredNonProCertification": entitlement_id == config.t_prop_entitlement_id,
                },
                row_id=entitlement_id,
            )
        self.market_data_plans.add(
            {
                "name": "CMEGROUP_TOP",
                "title": "CME Group top of book",
                "price": 0.0,
                "exchangeScopeId": 1,
                "dataType": "Top",
                "professional": "NonProfessional",
            }
        )
        for account_id, size in TEMPLATES.items():
            self.add_account(f"TEMPLATE{size // 1000}K", size, now, account_id=account_id)
        for alert_id, name in ((config.mda_alert_id, "custapp:nonpro-signed"), (12, "account:margin-call")):
            self.alerts.add({"name": name, "timestamp": iso(now)}, row_id=alert_id)

    @property
    def plan_id(self) -> int:
        """Id of the firm's own membership plan."""
        return next(iter(self.plans.rows))

    def add_user(self, name: str, email: str, now: float, *, foreign: bool = False, user_id: int | None = None) -> Row:
        user = self.users.add(
            {
                "name": name,
                "timestamp": iso(now),
                "email": email,
                "status": "Active",
                "professional": False,
                "organizationId": ORGANIZATION_ID + (1 if foreign else 0),
            },
            foreign=foreign,
            row_id=user_id,
        )
        self.emails.setdefault(email.casefold(), user["id"])
        self.user_born[user["id"]] = now
        return user

    def add_account(
        self, name: str, balance: float, now: float, *, foreign: bool = False, account_id: int | None = None
    ) -> Row:
        account = self.accounts.add(
            {
                "name": name,
                "userId": ADMIN_ID,
                "accountType": "Customer",
                "active": True,
                "clearingHouseId": 1,
                "riskCategoryId": 1,
                "autoLiqProfileId": 1,
                "marginAccountType": "Speculator",
                "legalStatus": "Corporation",
                "timestamp": iso(now),
                "evaluationSize": balance,
            },
            foreign=foreign,
            row_id=account_id,
        )
        status = {
            "adminAction": "Normal",
            "userTriggeredLiqOnly": False,
            "autoLiqCounter": 0,
            "maxNetLiq": balance,
            "maxNetLiqTimestamp": iso(now),
            "minNetLiq": balance,
        }
        self.risk_statuses.add(status, foreign=foreign, row_id=account["id"])
        self.auto_liqs.add({}, foreign=foreign, row_id=account["id"])
        return account

    def add_live_account(self, name: str, now: float, account_id: int | None = None) -> Row:
        """Make an account of LIVE, as an approved subaccount is one."""
        return self.live_accounts.add(
            {"name": name, "userId": ADMIN_ID, "accountType": "Customer", "active": True, "timestamp": iso(now)},
            row_id=account_id,
        )

    def add_permission(
        self, account_id: int, user: Row, status: str, now: float, *, foreign: bool = False, live: bool = False
    ) -> Row:
        table = self.live_permissions if live else self.permissions
        permission = table.add(
            {
                "userId": user["id"],
                "accountId": account_id,
                "accountHolderContact": "Sandbox Firm",
                "accountHolderEmail": "firm@sandbox.invalid",
                "ctaContact": user["name"],
                "ctaEmail": user["email"],
                "status": status,
                "updated": iso(now),
            },
            foreign=foreign,
        )
        if not live:
            self.permissions_of_account[account_id].append(permission["id"])
        return permission

    def permissions_on(self, account_id: int) -> list[Row]:
        rows = (self.permissions.get(row_id) for row_id in self.permissions_of_account.get(account_id, ()))
        return [row for row in rows if row is not None]


def _plan(name: str) -> Row:
    return {
        "name": name,
        "title": name.replace("_", " ").title(),
        "price": 0.0,
        "category": "Evaluation",
        "trial": False,
        "duration": 1,
        "durationUnits": "Month",
        "organizationId": ORGANIZATION_ID,
        "simOnly": True,
    }
