"""What is not there must be proven too: an empty 404 is also what a wrong host says to everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from schemas.outcomes import ErrorCode
from tests.support.reader import ADMIN, FakeReader, look
from worker.partner.look_up import look as look_with_proof
from worker.partner.look_up import look_for_needed
from worker.partner.operation import Operation
from worker.partner.operations import OPERATIONS
from worker.partner.read_errors import HostDoubted, NotPermitted, Unreadable
from worker.replies import Answer, Domain, Misdirected, Query, Reply, Unclear
from worker.results import NotExecuted, Rejected, Succeeded, Unknown

DENIED = NotPermitted("a read", "Users", "401")

USERS = OPERATIONS["createEvaluationUsers"]
ACCOUNTS = OPERATIONS["createEvaluationAccounts"]
REVOKE = OPERATIONS["revokeTradingPermissions"]
FIND = OPERATIONS["revokeTradingPermissions@find"]
RESET = OPERATIONS["resetDemoAccountState"]
LIVE = OPERATIONS["cancelEverything"]
ADD = OPERATIONS["addEntitlementSubscription"]
CONTACT = OPERATIONS["updateContactInfo"]
PERMISSION = OPERATIONS["createTradingPermission"]
REQUEST = OPERATIONS["requestTradingPermission"]

GONE = Misdirected("", 404)

ITEMS: list[tuple[Operation, dict[str, Any]]] = [
    (USERS, {"name": "jane", "email": "jane@example.com"}),
    (ACCOUNTS, {"name": "EVAL1", "userId": 5, "templateAccountId": 3, "_derived": "EVAL1"}),
    (PERMISSION, {"accountId": 11, "userId": 5}),
    (OPERATIONS["createTradingPermission@live"], {"accountId": 11, "userId": 5}),
    (REQUEST, {"accountId": 11, "ctaContact": "x", "ctaEmail": "x@y"}),
    (REVOKE, {"tradingPermissionIds": [9]}),
    (FIND, {"_accounts": [11], "_name": "EVAL1", "_ids": [9]}),
    (LIVE, {"userId": 5}),
    (OPERATIONS["cancelEverything@demo"], {"userId": 5}),
    (ADD, {"userId": 5, "entitlementId": 31}),
    (CONTACT, {"userId": 5, "firstName": "Jane"}),
    *(
        (OPERATIONS[f"setAdminAutoLiqAction{word}"], {"accountId": 11, "adminAction": "LockTradingImmediately"})
        for word in ("", "@read", "@unlock", "@read_unlock")
    ),
    *(
        (OPERATIONS[f"updateUserAutoLiqs{word}"], {"accountId": 11, "_asked": {"dailyLossAutoLiq": 900}})
        for word in ("", "@read")
    ),
]


def test_every_look_up_is_tried_on_a_wrong_host() -> None:
    """A new operation that is looked up needs an item here."""
    looked = {operation.name for operation in OPERATIONS.values() if operation.recovery.look_up is not None}
    assert {operation.name for operation, _ in ITEMS} == looked - {"addEntitlementSubscription@again"}


@pytest.mark.parametrize(("operation", "item"), ITEMS, ids=lambda value: getattr(value, "name", ""))
async def test_a_host_that_says_404_to_everything_proves_nothing(operation: Operation, item: dict[str, Any]) -> None:
    """Neither absent, nor gone, nor not found: the host is doubted, whichever operation is looked up."""
    for items in ([item], [item, {**item, "name": "OTHER2", "userId": 6, "accountId": 12}]):
        with pytest.raises(HostDoubted):
            await look(operation, FakeReader({}, wrong_host=True), *items)


async def test_one_read_more_shows_that_the_host_answers() -> None:
    """A name that is not there costs its own read and one of what the API user has."""
    reader = FakeReader({})
    assert await look_with_proof(USERS, reader, [ITEMS[0][1]], sent=False) == [NotExecuted()]
    assert reader.asked == [("/user/find", {"name": "jane"}), ("/userPlugin/deps", {"masterid": ADMIN})]


async def test_what_may_have_been_made_is_asked_for_after_the_host_has_answered() -> None:
    """A host that restarts says 404 and finds it a moment later: it is found, and not made a second time."""
    answers: list[Any] = [GONE, {"id": 7, "name": "jane", "email": "jane@example.com"}]
    reader = FakeReader({"/user/find": lambda _query: answers.pop(0)})
    (found,) = await look(USERS, reader, ITEMS[0][1])
    assert isinstance(found, Succeeded)


NOWHERE: list[Any] = [None, {}, [None], [{}], {"id": 0}, {"error": "x"}, [{"id": 1}, {}], "x", 7]
"""Bodies of HTTP 200 that are no documented answer to any read of this page, neither a find nor an absence."""


@dataclass
class Alike(FakeReader):
    """Answers every read with the same body, but those of what the API user has, if it is not the wrong host."""

    body: Any = None

    def _answer(self, _domain: Domain, path: str, query: Mapping[str, Any]) -> Reply:
        reply = super()._answer(_domain, path, query)
        return reply if isinstance(reply, Answer) else Answer(self.body)


async def test_an_early_answer_is_asked_for_again_by_itself() -> None:
    """Without a bulk read, ten names that are not there cost a read each, one of them twice, and two controls."""
    reader = FakeReader({"/user/finds": GONE})
    items = [{"name": f"user{number}", "email": f"user{number}@example.com"} for number in range(10)]
    found = await look(USERS, reader, *items)
    assert found == [NotExecuted()] * 10
    assert reader.paths == ["/user/finds"] * 2 + ["/user/find"] * 11
    assert [query["name"] for _, query in reader.asked if "name" in query] == [
        "user0",
        *(item["name"] for item in items),
    ]
    assert len(reader.asked) == 2 + 11 + 2


@pytest.mark.parametrize(("operation", "item"), ITEMS, ids=lambda value: getattr(value, "name", ""))
async def test_a_gateway_that_answers_everything_alike_proves_nothing(
    operation: Operation, item: dict[str, Any]
) -> None:
    """While Tradovate is away: an item would be made twice, or be reported as gone. The host is doubted."""
    for body in NOWHERE:
        for items in ([item], [item, {**item, "name": "OTHER2", "userId": 6, "accountId": 12}]):
            with pytest.raises(HostDoubted) as doubted:
                await look(operation, Alike({}, wrong_host=True, body=body), *items)
            assert "answers no read" in doubted.value.sentence


@pytest.mark.parametrize(("operation", "item"), ITEMS, ids=lambda value: getattr(value, "name", ""))
async def test_a_read_that_is_answered_in_another_form_is_unknown(operation: Operation, item: dict[str, Any]) -> None:
    """Neither absent nor done, though the host answers other reads well. Only `find` may say so of a name: how it says
    that there is none is not documented.
    """
    for body in NOWHERE:
        for items in ([item], [item, {**item, "name": "OTHER2", "userId": 6, "accountId": 12}]):
            try:
                found = await look(operation, Alike({}, body=body), *items)
            except Unreadable:
                continue
            absent = operation in (USERS, ACCOUNTS) and body in (None, {})
            assert [type(each) for each in found] == [NotExecuted if absent else Unknown] * len(items)


async def test_an_empty_list_needs_no_further_proof() -> None:
    """An empty list says by itself that there is nothing, where a list is what the read answers; not to `find`."""
    reader = FakeReader({"/userPlugin/deps": []}, wrong_host=True)
    assert await look(ADD, reader, {"userId": 5, "entitlementId": 31}) == [NotExecuted()]
    assert len(reader.asked) == 1
    with pytest.raises(HostDoubted):
        await look(USERS, FakeReader({"/user/find": []}, wrong_host=True), ITEMS[0][1])


async def test_a_later_read_of_its_own_is_proof_enough() -> None:
    """The accounts' bulk read says 404, the permissions' one answers: nothing more is asked."""
    rows = [{"id": 9, "userId": 5, "status": "Revoked"}]
    reader = FakeReader(
        {"/tradingPermission/item": lambda query: rows[0] if query["id"] == 9 else GONE}, wrong_host=True
    )
    items = ({"tradingPermissionIds": [permission]} for permission in (8, 9))
    assert await look(REVOKE, reader, *items) == [NotExecuted(), Succeeded()]


@pytest.mark.parametrize(
    "answer",
    [
        GONE,
        Misdirected("", 307),
        Misdirected("", 421),
        Unclear("HTTP 503", 503),
        DENIED,
    ],
)
async def test_a_control_that_is_not_answered_proves_nothing(answer: Any) -> None:
    """A redirect, a 5xx and a 401 are no answers of the right host."""
    reader = FakeReader({"/userPlugin/deps": answer, "/tradovateSubscriptionPlan/list": answer}, wrong_host=True)
    with pytest.raises(HostDoubted):
        await look(USERS, reader, ITEMS[0][1])


async def test_a_name_that_is_known_serves_where_no_id_does() -> None:
    """The API user's own login name, and an account of ours."""
    for names, path in (({"/user/finds": "svc"}, "/user/find"), ({"/account/finds": "EVAL9"}, "/account/find")):
        reader = FakeReader(
            {path: lambda query: {"id": 1} if query["name"] in ("svc", "EVAL9") else GONE}, wrong_host=True
        )
        reader.seen.names = names
        assert await look(REVOKE, reader, {"tradingPermissionIds": [9]}) == [NotExecuted()]


@pytest.mark.parametrize(
    ("operation", "item", "path"),
    [
        (USERS, ITEMS[0][1], "/tradovateSubscriptionPlan/list"),
        (ACCOUNTS, ITEMS[1][1], "/account/item"),
        (ACCOUNTS, ITEMS[1][1], "/tradingPermission/deps"),
    ],
)
async def test_another_read_serves_where_the_first_is_not_answered(
    operation: Operation, item: dict[str, Any], path: str
) -> None:
    """The API user may be unknown to `deps`: the plans, the template account, the trader's own permissions serve too.
    The one that served is asked first the next time.
    """
    there: Callable[[Mapping[str, Any]], Any] = lambda query: [] if query.get("masterid", 5) == 5 else GONE  # noqa: E731
    reader = FakeReader({path: {"id": 3} if path == "/account/item" else there}, wrong_host=True)
    assert await look_with_proof(operation, reader, [item], sent=False) == [NotExecuted()]
    first = len(reader.asked)
    assert await look_with_proof(operation, reader, [item], sent=False) == [NotExecuted()]
    assert len(reader.asked) == first + 2


class ByDomain(FakeReader):
    """A reader that answers on one domain."""

    right = Domain.LIVE

    async def get(self, domain: Domain, path: str, **query: Query) -> Reply:
        reply = await super().get(domain, path, **query)
        return reply if domain is self.right or not isinstance(reply, Answer) else GONE


async def test_each_domain_is_proven_by_itself() -> None:
    """LIVE answers; that says nothing of DEMO."""
    with pytest.raises(HostDoubted) as doubted:
        await look(ACCOUNTS, ByDomain({}), ITEMS[1][1])
    assert doubted.value.domain is Domain.DEMO
    assert await look(USERS, ByDomain({}), ITEMS[0][1]) == [NotExecuted()]


# -- what an item needs


async def needed(operation: Operation, reader: FakeReader, *items: dict[str, Any]) -> list[Any]:
    return list(await look_for_needed(operation, reader, items))


async def test_a_missing_entity_is_not_found_and_the_others_are_sent_again() -> None:
    """In reads of ten: what is missing is reported by name and number, of each item."""
    rows = [{"id": n} for n in range(1, 26) if n != 7]
    reader = FakeReader(
        {
            "/tradingPermission/items": lambda query: [
                row for row in rows if str(row["id"]) in query["ids"].split(",")
            ],
            "/tradingPermission/item": lambda query: next((row for row in rows if row["id"] == query["id"]), GONE),
        }
    )
    found = await needed(REVOKE, reader, *({"tradingPermissionIds": [n]} for n in range(1, 26)))
    assert found[6] == Rejected("Tradovate does not know trading permission 7.", ErrorCode.NOT_FOUND)
    assert [each for n, each in enumerate(found) if n != 6] == [NotExecuted()] * 24
    assert len(reader.asked) == 4


async def test_on_a_wrong_host_nothing_is_not_found() -> None:
    """The account's read says 404 like every other."""
    with pytest.raises(HostDoubted):
        await needed(RESET, FakeReader({}, wrong_host=True), {"accountId": 11})


async def test_an_account_needs_its_user_and_its_template() -> None:
    """The user is read on LIVE, the template on DEMO."""
    item = ITEMS[1][1]
    reader = FakeReader({"/user/item": {"id": 5}, "/account/item": {"id": 3}})
    assert await needed(ACCOUNTS, reader, item) == [NotExecuted()]
    (found,) = await needed(ACCOUNTS, FakeReader({"/user/item": {"id": 5}}), item)
    assert found == Rejected("Tradovate does not know template account 3.", ErrorCode.NOT_FOUND)


async def test_what_may_not_be_read_is_unknown() -> None:
    """A 401 to the entity's read says neither."""
    (found,) = await needed(RESET, FakeReader({"/account/item": DENIED}), {"accountId": 11})
    assert isinstance(found, Unknown)
