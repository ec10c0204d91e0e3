"""Users, contact data, accounts and look-ups of the simulated partner."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.contract.test_sandbox_desk import Desk, desk_with, logged_in

desk = logged_in

USERS = "live/user/createEvaluationUsers"
ACCOUNTS = "demo/user/createEvaluationAccounts"
CONTACT = {
    "firstName": "Jane", "lastName": "Doe", "streetAddress1": "1 Main St", "city": "Austin", "state": "TX",
    "country": "US", "phone": "+15125550100",
}  # fmt: skip


@pytest.mark.parametrize(
    ("form", "reported"), [("absent", {}), ("null", {"errorText": None}), ("empty", {"errorText": ""})]
)
async def test_a_success_tells_its_error_text_as_the_switch_says(form: str, reported: dict[str, Any]) -> None:
    """ErrorText of a success is absent, null or empty, beside the call and beside each item."""
    desk = await desk_with(success_error_text=form)
    answer = await desk.call(USERS, users=[desk.user()])
    assert {name: value for name, value in answer.items() if name == "errorText"} == reported
    assert {name: value for name, value in answer["results"][0].items() if name == "errorText"} == reported


async def test_results_stand_in_the_order_of_the_items(desk: Desk) -> None:
    """One result an item, in their order, and a bad item among good ones spoils only itself."""
    first = desk.user()
    answer = await desk.call(USERS, users=[desk.user(), first, desk.user(name=first["name"]), desk.user()])
    kinds = ["userId" in result for result in answer["results"]]
    assert kinds == [True, True, False, True]
    assert answer["results"][2]["errorText"] == "User with this name already exists"
    assert sum((await desk.effects())["users_by_name"].values()) == 3


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("form", ["error_text", "violations", "http_400"])
async def test_a_bad_item_can_refuse_its_batch(form: str, atomic: bool) -> None:
    """A batch refused as a whole leaves nothing behind, or what stood before the bad item."""
    desk = await desk_with(refused_item=form, batch_atomic=atomic)
    await desk.new_user(name="taken")
    users = [desk.user(), desk.user(name="taken"), desk.user()]
    answer = await desk.send(USERS, orjson.dumps({"users": users}))
    assert answer.status_code == (400 if form == "http_400" else 200)
    if form == "error_text":
        assert answer.json()["errorText"] == "User with this name already exists"
    elif form == "violations":
        assert answer.json()["violations"][0]["constraint"] == "name"
    assert len((await desk.effects())["users_by_name"]) == (1 if atomic else 2)


@pytest.mark.parametrize(("form", "constraint"), [("code", "required_field_missing"), ("field", "firstName")])
async def test_a_missing_field_is_a_violation_in_the_vendors_words(form: str, constraint: str) -> None:
    """A missing field is reported as `First Name should be specified`, with either form of `constraint`."""
    desk = await desk_with(violation_constraint=form)
    answer = await desk.call(USERS, users=[desk.user(firstName="")])
    assert answer == {
        "violations": [{"constraint": constraint, "value": "", "description": "First Name should be specified"}]
    }


@pytest.mark.parametrize(("change", "text"), [
    ({"firstName": "x" * 30, "lastName": "y" * 31}, "First Name and Last Name combined should be no longer than 60"),
    ({"firstName": "x" * 65}, "First Name should be no longer than 64"),
    ({"password": "short"}, "Password should be no shorter than 8"),
    ({"tradovateSubscriptionPlanId": 302}, "Tradovate subscription plan not found"),
    ({"entitlementIds": [31]}, "Entitlement requires a signed Market Data Agreement"),
    ({"email": "nobody"}, "Email should be valid"),
])  # fmt: skip
async def test_the_stated_rules_of_a_user_are_kept(change: dict[str, Any], text: str) -> None:
    """Long names, weak passwords, a foreign plan and unsigned entitlements are refused for their own item."""
    desk = await desk_with(malformed_item="item")
    answer = await desk.call(USERS, users=[desk.user(**change)])
    assert answer["results"] == [{"errorText": text}]


async def test_more_than_a_hundred_items_are_refused(desk: Desk) -> None:
    """A hundred and one items make nothing; a hundred make a hundred."""
    assert "errorText" in await desk.call(USERS, users=[desk.user() for _ in range(101)])
    assert len((await desk.call(USERS, users=[desk.user() for _ in range(100)]))["results"]) == 100
    assert (await desk.state())["effects"]["users_by_name"] == 100


async def test_group_trade_kills_the_batch(desk: Desk) -> None:
    """Entitlement 22 in one user refuses all."""
    answer = await desk.call(USERS, users=[desk.user(), desk.user(entitlementIds=[22])])
    assert answer["errorText"]
    assert (await desk.effects())["users_by_name"] == {}


@pytest.mark.parametrize(("form", "status"), [("error_text", 200), ("404", 404), ("401", 401)])
async def test_the_wrong_domain_is_reported(form: str, status: int) -> None:
    """Users are made on LIVE and accounts on DEMO; elsewhere the call is refused without effect."""
    desk = await desk_with(wrong_domain=form)
    body = orjson.dumps({"users": [desk.user()]})
    answer = await desk.send("demo/user/createEvaluationUsers", body)
    assert answer.status_code == status
    if form == "error_text":
        assert answer.json()["errorText"] == "This endpoint should be called on live.tradovateapi.com"
    assert (await desk.effects())["users_by_name"] == {}


async def test_an_account_comes_with_its_permission(desk: Desk) -> None:
    """An account has the firm as owner and the trader on a permission."""
    user_id = await desk.new_user(name="ann")
    made = await desk.new_account(user_id, "EVAL1")
    [permission] = await desk.call(f"demo/tradingPermission/deps?masterid={user_id}")
    assert (permission["id"], permission["accountId"]) == (made["tradingPermissionId"], made["accountId"])
    assert permission["status"] == "Approved"
    found = await desk.call("demo/account/find?name=EVAL1")
    assert found["id"] == made["accountId"]
    assert found["userId"] != user_id


async def test_an_account_without_permission_gets_one(desk: Desk) -> None:
    """Where the permission is not made with the account, createTradingPermission makes it, once."""
    await desk.control("switches", permission_with_account=False)
    user_id = await desk.new_user()
    made = await desk.new_account(user_id)
    assert "tradingPermissionId" not in made
    pair = {"accountId": made["accountId"], "userId": user_id}
    answer = await desk.call("demo/user/createTradingPermission", **pair)
    assert answer["tradingPermission"]["status"] == "Approved"
    assert "errorText" in await desk.call("demo/user/createTradingPermission", **pair)
    await desk.control("switches", same_permission_again="existing")
    again = await desk.call("demo/user/createTradingPermission", **pair)
    assert again["tradingPermission"]["id"] == answer["tradingPermission"]["id"]
    assert (await desk.effects())["twice"] == {}


@pytest.mark.parametrize("name", ["eval1", "EVAL", "1EVAL", "EVAL 1", "EVAL_1", "E1\n", "E" * 64 + "1"])
async def test_account_names_follow_the_rule(name: str) -> None:
    """Capital letters, then digits, at most 64: all else is refused."""
    desk = await desk_with(malformed_item="item")
    user_id = await desk.new_user()
    answer = await desk.call(ACCOUNTS, accounts=[desk.account(user_id, name)])
    assert "Name should" in answer["results"][0]["errorText"]


@pytest.mark.parametrize("unique", [True, False])
async def test_account_names_are_unique_or_not(unique: bool) -> None:
    """The same name again is refused, or makes a second account that the oracle reports."""
    desk = await desk_with(account_names_unique=unique)
    user_id = await desk.new_user()
    await desk.new_account(user_id, "EVAL1")
    again = await desk.new_account(user_id, "EVAL1")
    assert ("errorText" in again) is unique
    assert (await desk.effects())["twice"] == ({} if unique else {"accounts_by_name": {"EVAL1": 2}})


async def test_unknown_users_and_templates_are_refused(desk: Desk) -> None:
    """A user that is not there, another firm's user, or an unknown template refuses the item."""
    seeded = await desk.control("seed", foreign=True, users=[{"name": "bob", "email": "bob@other.example"}])
    user_id = await desk.new_user()
    items = [desk.account(1), desk.account(seeded["userIds"][0]), desk.account(user_id, templateAccountId=99)]
    texts = [result["errorText"] for result in (await desk.call(ACCOUNTS, accounts=items))["results"]]
    assert texts == ["User not found", "User not found", "Template account not found"]


async def test_a_foreign_name_is_taken_and_not_found(desk: Desk) -> None:
    """What belongs to another firm cannot be made and cannot be seen."""
    await desk.control("seed", foreign=True, accounts=[{"name": "EVAL7"}])
    user_id = await desk.new_user()
    assert "errorText" in await desk.new_account(user_id, "EVAL7")
    assert (await desk.send("demo/account/find?name=EVAL7")).status_code == 404


async def test_a_new_user_may_reach_demo_late(desk: Desk) -> None:
    """A user that DEMO has not heard of yet is unknown there for the chosen time."""
    await desk.control("switches", users_reach_demo_after=5)
    user_id = await desk.new_user()
    assert (await desk.new_account(user_id))["errorText"] == "User not found"
    desk.clock.go(5)
    assert "accountId" in await desk.new_account(user_id)


@pytest.mark.parametrize(("form", "status", "body"), [
    ("404", 404, b""), ("null", 200, b"null"), ("object", 200, b"{}"), ("empty", 200, b""), ("list", 200, b"[]"),
])  # fmt: skip
async def test_find_answers_for_nothing_as_the_switch_says(form: str, status: int, body: bytes) -> None:
    """Nothing of that name is 404 without a body, or one of four kinds of 200."""
    desk = await desk_with(find_nothing=form)
    answer = await desk.send("live/user/find?name=nobody")
    assert (answer.status_code, answer.content) == (status, body)


async def test_bulk_reads_have_their_switches(desk: Desk) -> None:
    """`finds` may be missing, `items` may have a limit and any order."""
    user_id = await desk.new_user()
    ids = [(await desk.new_account(user_id, f"EVAL{n}"))["accountId"] for n in (1, 2)]
    both = await desk.call("demo/account/finds?names=EVAL1,EVAL2,EVAL3")
    assert [row["id"] for row in both] == ids
    items = f"demo/account/items?ids={ids[0]},{ids[1]},5"
    assert [row["id"] for row in await desk.call(items)] == ids
    await desk.control("switches", finds_supported=False, items_reversed=True)
    assert (await desk.send("demo/account/finds?names=EVAL1")).status_code == 404
    assert [row["id"] for row in await desk.call(items)] == ids[::-1]
    await desk.control("switches", items_max_ids=2)
    assert (await desk.send(items)).status_code == 404
    await desk.control("switches", items_max_ids=0, finds_supported=True, bulk_max_rows=1)
    for read in ("items?ids=" + ",".join(map(str, ids)), "finds?names=EVAL1,EVAL2"):
        assert len(await desk.call(f"demo/account/{read}")) == 1


async def test_users_are_found_by_several_names(desk: Desk) -> None:
    """`user/finds` takes names as `account/finds` does; order, limit and what it says of nobody are switches."""
    ids = [await desk.new_user(name=name) for name in ("ann", "ben")]
    assert [row["id"] for row in await desk.call("live/user/finds?names=ann,ben,cleo")] == ids
    await desk.control("switches", finds_reversed=True)
    assert [row["id"] for row in await desk.call("live/user/finds?names=ann,ben,cleo")] == ids[::-1]
    await desk.control("switches", finds_repeats=True)
    assert [row["id"] for row in await desk.call("live/user/finds?names=ann&names=ben")] == ids[::-1]
    assert await desk.call("live/user/finds?names=ann,ben") == []
    await desk.control("switches", finds_nothing="404")
    assert (await desk.send("live/user/finds?names=cleo&names=dora")).status_code == 404
    await desk.control("switches", finds_nothing="null", finds_max_names=1)
    assert (await desk.send("live/user/finds?names=cleo")).content == b"null"
    assert (await desk.send("live/user/finds?names=ann&names=ben")).status_code == 404


async def test_entities_of_the_other_domain_are_not_there(desk: Desk) -> None:
    """Accounts are not seen on LIVE, contact data not on DEMO; an unknown id is 404 without a body."""
    user_id = await desk.new_user()
    made = await desk.new_account(user_id)
    answer = await desk.send(f"live/account/item?id={made['accountId']}")
    assert (answer.status_code, answer.content) == (404, b"")
    assert await desk.call(f"live/tradingPermission/deps?masterid={user_id}") == []


async def test_dependents_of_many_masters_come_in_one_call(desk: Desk) -> None:
    """`ldeps` tells the dependents of all the masters it is asked for."""
    users = [await desk.new_user(tradovateSubscriptionPlanId=301) for _ in range(2)]
    rows = await desk.call(f"live/tradovateSubscription/ldeps?masterids={users[0]},{users[1]}")
    assert [row["userId"] for row in rows] == users
    await desk.control("switches", bulk_max_rows=1)
    rows = await desk.call(f"live/tradovateSubscription/ldeps?masterids={users[0]},{users[1]}")
    assert [row["userId"] for row in rows] == users[:1]


async def test_contact_data_are_checked_and_written_again_without_harm(desk: Desk) -> None:
    """Contact data name what is missing, want a state in the US, and may be sent twice."""
    user_id = await desk.new_user()
    wrong = await desk.call(
        "live/contactInfo/updateContactInfo", userId=user_id, **{**CONTACT, "state": "", "city": ""}
    )
    assert [item["description"] for item in wrong["violations"]] == [
        "City should be specified",
        "State should be specified",
    ]
    for _ in range(2):
        right = await desk.call("live/contactInfo/updateContactInfo", userId=user_id, **CONTACT)
        assert right["contactInfo"]["userId"] == user_id
    assert len(await desk.call(f"live/contactInfo/deps?masterid={user_id}")) == 1
    assert (await desk.effects())["contact_updates"] == {str(user_id): 2}


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"users": 7}', b'{"users": [7]}', b'{"users":[{"name":7}]}'])
async def test_nonsense_is_400(desk: Desk, body: bytes) -> None:
    """A body that is no object, or has fields of wrong types, is HTTP 400."""
    answer = await desk.send(USERS, body)
    assert answer.status_code in (400, 200)
    assert answer.status_code == 400 or "violations" in answer.json()
    assert (await desk.effects())["users_by_name"] == {}
