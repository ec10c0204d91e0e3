"""What the vendor leaves open, each way; and names that find themselves whatever has been forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.waiting import eventually, together
from worker.sandbox import SandboxConfig

USERS = "/user/createevaluationusers"
ACCOUNTS = "/user/createevaluationaccounts"
PERMISSION = "/user/createtradingpermission"

SWITCHES: list[dict[str, Any]] = [
    {"account_names_unique": False},
    {"account_names_unique": False, "finds_supported": False},
    {"batch_atomic": False},
    *({"find_nothing": nothing} for nothing in ("404", "null", "object", "empty", "list")),
    {"finds_supported": False},
    {"finds_repeats": True},
    {"finds_repeats": True, "account_names_unique": False},
    {"finds_nothing": "object", "account_names_unique": False},
    {"finds_nothing": "null", "finds_reversed": True},
    {"finds_max_names": 1},
    {"bulk_max_rows": 3, "account_names_unique": False},
    {"permission_status": "Accepted"},
    {"permission_status": "Requested"},
    {"finds_supported": False, "find_nothing": "empty"},
    {"permission_with_account": False},
    {"permission_with_account": False, "same_permission_again": "existing"},
    {"success_error_text": "null"},
    {"success_error_text": "empty"},
    {"deps_unknown_master": "404"},
    {"refused_item": "violations", "batch_atomic": False},
]


def name(switches: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in switches.items())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("action", ["cut_after", "cut_before"])
async def test_every_possibility_is_lived_with(stage: Stages, part: int, action: str) -> None:
    """Under each thing that the vendor leaves open, calls that were cut take effect once."""
    await together({name(switches): _lived_with(stage, switches, action) for switches in SWITCHES[part::4]})


async def _lived_with(stage: Stages, switches: dict[str, Any], action: str) -> None:
    on = await stage(SandboxConfig(**switches), BATCH_LINGER_MS="100")
    await on.replica()
    for path in (USERS, ACCOUNTS, PERMISSION):
        on.fault(action, path, times=1)
    await on.buy(*(purchase(number) for number in range(3)))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await oracle.holds_all(on)


FORGOTTEN: list[dict[str, Any]] = [
    {},
    {"account_names_unique": False},
    {"refused_item": "violations"},
    {"refused_item": "error_text", "batch_atomic": False},
    {"finds_supported": False, "find_nothing": "null"},
    {"finds_repeats": True},
    {"permission_with_account": False},
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", range(2))
async def test_an_empty_ledger_makes_nothing_twice(stage: Stages, part: int) -> None:
    """With an empty database and the topic read again from its start, the same orders end with the same ids."""
    await together({name(switches): _read_again(stage, switches) for switches in FORGOTTEN[part::2]})


async def _read_again(stage: Stages, switches: dict[str, Any]) -> None:
    first = await stage(SandboxConfig(**switches), BATCH_LINGER_MS="100")
    replica = await first.replica()
    await first.buy(*(purchase(number, trader=number // 2) for number in range(8)))
    before = await first.all_ended()
    await replica.stop()
    effects = first.effects
    again = await stage(KAFKA_TOPIC_PREFIX=first.env["KAFKA_TOPIC_PREFIX"], KAFKA_GROUP_ID="again", **_partner(first))
    again.events = first.events
    await again.replica()
    # Each outcome is published a second time, with the id that it had.
    found = await _heard_twice(first, before)
    assert found
    assert {kind: first.effects[kind] for kind in ("users_by_name", "accounts_by_name", "permissions")} == {
        kind: effects[kind] for kind in ("users_by_name", "accounts_by_name", "permissions")
    }
    oracle.once_in_effect(first)
    await oracle.nothing_stuck(again)


def _partner(stage: Stage) -> dict[str, str]:
    return {key: value for key, value in stage.env.items() if key.startswith("TRADOVATE_") and key.endswith("_URL")}


async def _heard_twice(stage: Stage, before: list[dict[str, Any]]) -> bool:
    def twice() -> bool:
        for outcome in before:
            heard = [each for each in stage.wire.outcomes if each["eventId"] == outcome["eventId"]]
            assert len(heard) == 2, f"{outcome['eventId']} heard {len(heard)} times"
            first, second = heard
            for field in ("outcomeId", "status", "userId", "accountId", "accountName", "tradingPermissionId"):
                assert first[field] == second[field], field
        return True

    return await eventually(twice, 20)


@pytest.mark.parametrize("unique", [True, False], ids=["unique", "not-unique"])
async def test_a_strangers_account_is_a_conflict(stage: Stages, unique: bool) -> None:
    """An account of the order's name on which another trader has a permission is theirs, and gets no second one."""
    on = await stage(SandboxConfig(account_names_unique=unique))
    seeded = on.seed(
        users=[
            {"name": "stranger", "email": "stranger@example.com"},
            {"name": "login1x", "email": "mail1x@example.com"},
        ],
        accounts=[{"name": "EVAL100001"}],
    )
    on.seed(permissions=[{"accountId": seeded["accountIds"][0], "userId": seeded["userIds"][0]}])
    await on.replica()
    await on.buy(purchase(1))
    (outcome,) = await on.all_ended()
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "conflict")
    assert on.effects["permissions"] == {}
    assert on.effects["accounts_by_name"] == {}
    await oracle.holds_all(on)


async def test_an_account_of_our_own_naming_is_adopted(stage: Stages) -> None:
    """An account of the order's derived name on which nobody has a permission is ours, and gets one."""
    on = await stage()
    on.seed(users=[{"name": "login1x", "email": "mail1x@example.com"}], accounts=[{"name": "EVAL100001"}])
    await on.replica()
    await on.buy(purchase(1))
    (outcome,) = await on.all_ended()
    assert outcome["status"] == "succeeded"
    assert on.effects["accounts_by_name"] == {}
    assert list(on.effects["permissions"].values()) == [1]
    await oracle.holds_all(on)


async def test_a_given_name_that_is_taken_is_a_conflict(stage: Stages) -> None:
    """An account name that the event gives proves nothing: a bare account of that name is not taken over."""
    on = await stage()
    on.seed(accounts=[{"name": "GIVEN1"}])
    await on.replica()
    await on.buy(purchase(1, account={**purchase(1)["account"], "name": "GIVEN1"}))
    (outcome,) = await on.all_ended()
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "conflict")
    assert on.effects["permissions"] == {}
    await oracle.holds_all(on)


async def test_a_user_name_with_another_e_mail_is_a_conflict(stage: Stages) -> None:
    """A login name that is taken with another e-mail belongs to another user; with the same e-mail it is the
    trader's.
    """
    on = await stage()
    seeded = on.seed(
        users=[{"name": "login1x", "email": "other@example.com"}, {"name": "login2x", "email": "MAIL2X@example.com"}]
    )
    await on.replica()
    await on.buy(purchase(1), purchase(2))
    first, second = await on.all_ended()
    assert (first["status"], first["errorCode"]) == ("failed", "conflict")
    assert (second["status"], second["userId"]) == ("succeeded", seeded["userIds"][1])
    assert on.effects["users_by_name"] == {}
    await oracle.holds_all(on)


async def test_a_look_up_that_cannot_go_on_is_made_in_parts(stage: Stages) -> None:
    """Where each step costs a read, a look-up that is stopped in the middle is begun again with half of its steps."""
    on = await stage(SandboxConfig(finds_supported=False), BATCH_LINGER_MS="100")
    here = await on.replica()
    on.fault("cut_after", USERS, times=1)
    on.fault("status_before", "/user/find", status=401, nth=6)
    async with on.gathered("createEvaluationUsers"):
        await on.buy(*(purchase(number) for number in range(8)))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    # All eight, until the token was not accepted; then four, which made it five, then the other four.
    assert here.replica.dispatcher.caller.look_up_sizes.of("createEvaluationUsers") == 6
    await oracle.holds_all(on)
