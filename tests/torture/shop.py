"""The shop: sends every kind of event at a steady rate, and remembers what each may lead to."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.support.events import personal, purchase
from tests.support.firm import application
from tests.torture.sent import Sent, Trader
from tests.torture.system import System

MIX: Mapping[str, int] = {
    "buy": 40,
    "buy again": 8,
    "fail": 8,
    "fail first": 5,
    "leave": 4,
    "sign": 10,
    "pass": 4,
    "reset": 3,
    "assign": 3,
    "request": 3,
    "risk": 4,
    "lock": 4,
    "repeat": 5,
    "other details": 3,
    "id reused": 2,
    "bad": 4,
}
"""Kinds of events, and how often each comes, in parts of their sum."""


IN_TURN = frozenset({"account.locked", "account.unlocked", "risk.changed"})
"""Topics whose events about one account are executed one after another."""

FEW = 5
"""Accounts that get most of those events: so that several are about one account."""


@dataclass
class Shop:
    """`sent` has every event that must have one final outcome."""

    system: System
    dice: random.Random
    rate: float
    mix: Mapping[str, int] = field(default_factory=lambda: MIX)
    waits_long: bool = True
    """Whether it sends events whose flows take a minute even where nothing is wrong."""
    closed: bool = False
    """Whether it sends no more."""
    sent: dict[str, Sent] = field(default_factory=dict)
    offsets: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """Where an event first stands: topic, partition, offset."""
    heard_before: dict[str, frozenset[str]] = field(default_factory=dict)
    """For events that have their turn on an account: those whose outcome was there before they were sent."""
    bad_places: set[tuple[str, int, int]] = field(default_factory=set)
    """Where records stand that must become dead letters: topic, partition, offset."""
    bad_values: set[tuple[str, bytes]] = field(default_factory=set)
    """Topics and values of such records."""
    secrets: set[str] = field(default_factory=set)
    """Personal values that must never be seen."""
    signatures: dict[int, int] = field(default_factory=dict)
    """Signal id to user id."""
    traders: dict[str, Trader] = field(default_factory=dict)
    orders: dict[str, Sent] = field(default_factory=dict)
    _numbers: int = 0
    _producer: Any = None

    async def start(self) -> None:
        """Connects."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.system.broker.bootstrap_servers, acks="all", enable_idempotence=True
        )
        await self._producer.start()

    async def stop(self) -> None:
        """Disconnects."""
        await self._producer.stop()

    async def send_one(self) -> None:
        """Sends one event of a kind that the dice choose."""
        kind = self.dice.choices(list(self.mix), list(self.mix.values()))[0]
        ways: Mapping[str, Callable[[], list[Sent | tuple[str, bytes, bytes]]]] = {
            "buy": lambda: [self._purchase()],
            "buy again": self._buy_again,
            "fail": self._fail,
            "fail first": self._fail_first,
            "leave": self._leave,
            "sign": self._sign,
            "pass": self._pass,
            "reset": self._reset,
            "assign": self._assign,
            "request": self._request,
            "risk": self._risk,
            "lock": self._lock,
            "repeat": self._repeat,
            "other details": self._other_details,
            "id reused": self._id_reused,
            "bad": self._bad,
        }
        for each in ways[kind]():
            await self.send(each)

    async def send(self, what: Sent | tuple[str, bytes, bytes]) -> None:
        """Puts an event, or topic, key and value of a record that is none, on its topic."""
        first = isinstance(what, Sent) and what.event_id not in self.sent
        if isinstance(what, Sent):
            if first and what.topic in IN_TURN:
                self.heard_before[what.event_id] = self._heard()
            self.sent.setdefault(what.event_id, what)
            topic, key, value = what.topic, what.key, json.dumps(what.body).encode()
        else:
            topic, key, value = what
        bad = not isinstance(what, Sent) or what.invalid
        if bad:
            self.bad_values.add((topic, value))
        name = self.system.listener.names.on_broker(topic)
        while True:
            try:
                stands = await self._producer.send_and_wait(name, value, key=key)
            except KafkaError:
                continue  # the shop's own producer is idempotent; a broker that is away comes back
            if isinstance(what, Sent) and first:
                self.offsets[what.event_id] = topic, stands.partition, stands.offset
            if bad:
                self.bad_places.add((topic, stands.partition, stands.offset))
            return

    def _heard(self) -> frozenset[str]:
        return frozenset(each for each in self.heard_before if self.system.listener.final(each) is not None)

    def final(self, sent: Sent) -> Mapping[str, Any] | None:
        """The final outcome of an event, as far as it was heard."""
        return self.system.listener.final(sent.event_id)

    def of(self, topic: str) -> list[Sent]:
        """What was sent on a topic."""
        return [each for each in self.sent.values() if each.topic == topic]

    def signed_events(self) -> list[Sent]:
        """The events that bridges make of the signatures."""
        return [
            Sent("md.signed", {"eventId": f"mda-{signal}", "userId": user}, str(user).encode())
            for signal, user in self.signatures.items()
        ]

    def with_permission(self) -> str | None:
        """The newest order that succeeded, and whose trader has not failed."""
        for order, sent in reversed(self.orders.items()):
            outcome = self.final(sent)
            failed = self.traders[str(sent.body["traderId"])].failed
            if outcome is not None and outcome["status"] == "succeeded" and order not in failed:
                return order
        return None

    def failing(self, order: str) -> Sent:
        """The event that fails an order."""
        trader = str(self.orders[order].body["traderId"])
        self.traders[trader].failed.add(order)
        return self._event("trader.failed", trader, traderId=trader, orderId=order, reason="limits")

    def _event(self, topic: str, key: str, **body: Any) -> Sent:
        self._numbers += 1
        return Sent(topic, {"eventId": f"{topic.split('.')[1]}-{self._numbers}", **body}, key.encode())

    def _purchase(self, trader: Trader | None = None) -> Sent:
        self._numbers += 1
        number = self._numbers
        if trader is None:
            trader = Trader(number)
            self.traders[trader.id] = trader
        body = purchase(number, trader=trader.number, contact=number % 4 == 0)
        if number % 9 == 0:
            body["account"]["name"] = f"GIVEN{number}"
        sent = Sent("trader.purchased", body, trader.id.encode())
        self.secrets |= personal(body)
        order = str(body["orderId"])
        trader.orders.append(order)
        self.orders[order] = sent
        return sent

    def _buy_again(self) -> list[Any]:
        trader = self._any(lambda each: not each.left)
        return [self._purchase(trader)]

    def _fail(self) -> list[Any]:
        order = self._order(lambda order, trader: order not in trader.failed)
        return [self.failing(order)] if order else []

    def _fail_first(self) -> list[Any]:
        bought = self._purchase()
        return [self.failing(str(bought.body["orderId"])), bought]

    def _leave(self) -> list[Any]:
        trader = self._any(lambda each: not each.left and self._user(each) is not None)
        if trader is None:
            return []
        trader.left = True
        return [self._event("trader.left", trader.id, traderId=trader.id, immediate=True)]

    def _sign(self) -> list[Any]:
        trader = self._any(lambda each: not each.signed and not each.left and self._user(each) is not None)
        if trader is not None:
            trader.signed = True
            user = self._user(trader)
            for signal in self.system.control.sign({"userId": user})["signalIds"]:
                self.signatures[signal] = int(user or 0)
        return []

    def _pass(self) -> list[Any]:
        trader = self._any(lambda each: not each.passed and not each.left and self._user(each) is not None)
        if trader is None or not self.waits_long:
            return []
        trader.passed = True
        body = application(trader.number)
        self.secrets |= {body["streetAddress1"], body["taxIdentifier"], body["firstName"], body["lastName"]}
        more = {}
        if trader.number % 2:
            document = base64.b64encode(f"%PDF of trader {trader.number}, for the torture".encode()).decode()
            self.secrets.add(document)
            more = {"documents": [f"data:application/pdf;base64,{document}"] * 3}
        return [self._event("trader.passed", trader.id, traderId=trader.id, application=body, **more)]

    def _reset(self) -> list[Any]:
        order = self._order(lambda order, trader: order not in trader.failed and not trader.left)
        return [self._event("account.reset", order, orderId=order, tradeDate="2026-11-27")] if order else []

    def _assign(self) -> list[Any]:
        order = self._order(lambda order, trader: order not in trader.failed and not trader.left)
        other = self._any(lambda each: not each.left and self._user(each) is not None)
        account = self.account(order)
        if order is None or other is None or account is None or order in other.orders:
            return []
        return [self._event("account.assigned", other.id, accountId=account, userId=self._user(other))]

    def _request(self) -> list[Any]:
        account = self.account(self._order(lambda order, trader: order not in trader.failed and not trader.left))
        other = self._any(lambda each: not each.left and self._user(each) is not None)
        if account is None or other is None:
            return []
        user = self.orders[other.orders[0]].body["user"]
        contact = {"ctaContact": f"Advisora{account}x", "ctaEmail": user["email"]}
        self.secrets.add(contact["ctaContact"])
        return [self._event("permission.requested", str(account), accountId=account, **contact)]

    def _risk(self) -> list[Any]:
        order = self._one_of_few()
        if order is None:
            return []
        return [self._limits(order) for _ in range(self.dice.randint(1, 3))]

    def _limits(self, order: str) -> Sent:
        limits = {"dailyLossAutoLiq": self.dice.randrange(500, 2_000)}
        return self._event("risk.changed", order, orderId=order, postTradeRisk=limits)

    def _lock(self) -> list[Any]:
        account = self.account(self._one_of_few())
        if account is None:
            return []
        return [self._locked(account) for _ in range(self.dice.randint(1, 3))]

    def _locked(self, account: int) -> Sent:
        if self.dice.random() < 0.4:
            return self._event("account.unlocked", str(account), accountId=account, reason="checked")
        action = self.dice.choice(["lock", "liquidate", "close_only"])
        return self._event("account.locked", str(account), accountId=account, action=action, reason="a breach")

    def _one_of_few(self) -> str | None:
        """Mostly one of the newest orders that have an account."""
        known = [order for order, sent in self.orders.items() if self.final(sent) is not None]
        found = known[-FEW:] if self.dice.random() < 0.8 else known
        return self.dice.choice(found) if found else None

    def _repeat(self) -> list[Any]:
        return [self.dice.choice(list(self.sent.values()))] if self.sent else []

    def _other_details(self) -> list[Any]:
        order = self._order(lambda _order, _trader: True)
        if order is None:
            return []
        first = self.orders[order]
        self._numbers += 1
        account = {**first.body["account"], "initialBalance": 25_000}
        body = {**first.body, "eventId": f"details-{self._numbers}", "account": account}
        return [Sent("trader.purchased", body, first.key)]

    def _id_reused(self) -> list[Any]:
        # What was not accepted leaves its id free: only ids of events that have ended well are used again.
        ended = [each for each in self.orders.values() if self.final(each) is not None]
        if not ended:
            return []
        first = self.dice.choice(ended)
        return [("trader.purchased", first.key, json.dumps({**first.body, "orderId": "999999"}).encode())]

    def _bad(self) -> list[Any]:
        self._numbers += 1
        bad: dict[str, Any] = {"eventId": f"bad-{self._numbers}", "traderId": 5}
        return self.dice.choice(
            [
                [("trader.failed", b"k", b"\xff\x00 not json")],
                [("md.signed", b"k", b"")],
                [Sent("trader.purchased", bad, b"k", invalid=True)],
                [Sent("account.reset", {**bad, "tradeDate": "yesterday"}, b"k", invalid=True)],
            ]
        )

    def _any(self, fits: Callable[[Trader], bool]) -> Trader | None:
        found = [trader for trader in self.traders.values() if fits(trader)]
        return self.dice.choice(found) if found else None

    def _order(self, fits: Callable[[str, Trader], bool]) -> str | None:
        found = [order for trader in self.traders.values() for order in trader.orders if fits(order, trader)]
        return self.dice.choice(found) if found else None

    def _user(self, trader: Trader) -> int | None:
        outcomes = (self.final(self.orders[order]) for order in trader.orders)
        return next((each["userId"] for each in outcomes if each is not None and each["userId"]), None)

    def account(self, order: str | None) -> int | None:
        """The account that an order has got, as far as its outcome was heard."""
        outcome = self.final(self.orders[order]) if order in self.orders else None
        account: int | None = outcome["accountId"] if outcome is not None else None
        return account
