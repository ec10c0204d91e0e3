"""Look-ups of many users and accounts at once, whatever the partner's bulk reads answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.support.reader import FakeReader, look
from worker.partner.bulk_reads import by_id, dependents, listed_dependents
from worker.partner.operations import OPERATIONS
from worker.partner.read_errors import NotPermitted, ReadFault, Unreadable
from worker.replies import Domain, Misdirected, Unclear
from worker.results import NotExecuted, Succeeded, Unknown

USERS = OPERATIONS["createEvaluationUsers"]
ACCOUNTS = OPERATIONS["createEvaluationAccounts"]
ADD = OPERATIONS["addEntitlementSubscription"]

ADMIN = {"id": 1001, "name": "acme-admin", "email": "ops@example.com"}
TEMPLATE = {"id": 3, "name": "TEMPLATE50K"}
THERE = [{"id": 100 + n, "name": f"EVAL{n}"} for n in range(100)]
PERMISSIONS = [{"id": 500 + n, "accountId": 100 + n, "userId": n + 1, "status": "Approved"} for n in range(100)]
GONE = Misdirected("", 404)


def user(number: int) -> dict[str, Any]:
    return {"name": f"user{number}", "email": f"user{number}@example.com"}


def account(number: int) -> dict[str, Any]:
    return {"name": f"EVAL{number}", "userId": number + 1, "templateAccountId": 3, "_derived": f"EVAL{number}"}


def finds(form: str, rows: list[dict[str, Any]], nothing: Any, most: int = 1000) -> Callable[[Mapping[str, Any]], Any]:
    """A bulk read by name that takes names in one form only, at most so many, or is not there."""

    def answer(query: Mapping[str, Any]) -> Any:
        names = query["names"]
        match form:
            case "joined":
                asked = names.split(",") if isinstance(names, str) else []
            case "repeated":
                asked = [names] if isinstance(names, str) else list(names)
            case "last":
                asked = [names] if isinstance(names, str) else list(names)[-1:]
            case _:
                return GONE
        if len(asked) > most:
            return GONE
        folded = {name.casefold() for name in asked}
        return [row for row in reversed(rows) if row["name"].casefold() in folded] or nothing

    return answer


def find(rows: list[dict[str, Any]], nothing: Any = GONE) -> Callable[[Mapping[str, Any]], Any]:
    """A read of one name."""
    return lambda query: next((row for row in rows if row["name"].casefold() == query["name"].casefold()), nothing)


def many(*rows: dict[str, Any], unknown: int | None = None, most: int = 1000) -> Callable[[Mapping[str, Any]], Any]:
    """A bulk read by user, which fails for a user whom the partner does not know, and for too many users."""

    def answer(query: Mapping[str, Any]) -> Any:
        asked = [int(each) for each in str(query["masterids"]).split(",")]
        return GONE if unknown in asked or len(asked) > most else [row for row in rows if row["userId"] in asked]

    return answer


def one(*rows: dict[str, Any], unknown: int | None = None) -> Callable[[Mapping[str, Any]], Any]:
    """A read by user."""

    def answer(query: Mapping[str, Any]) -> Any:
        return GONE if query["masterid"] == unknown else [row for row in rows if row["userId"] == query["masterid"]]

    return answer


def accounts(form: str, rows: list[dict[str, Any]], nothing: Any, known: str | None, most: int = 1000) -> FakeReader:
    """The reads of an account look-up. `known`: the name of an account that is there."""
    there = [*rows, *([{"id": 99, "name": known}] if known is not None else ()), TEMPLATE]
    reader = FakeReader(
        {
            "/account/finds": finds(form, there, nothing, most),
            "/account/find": find(there),
            "/account/item": lambda query: TEMPLATE if query["id"] == 3 else GONE,
            "/tradingPermission/ldeps": many(*PERMISSIONS),
            "/tradingPermission/deps": one(*PERMISSIONS),
        }
    )
    if known is not None:
        reader.seen.names["/account/finds"] = known
    return reader


def read_of(reader: FakeReader, entity: str = "account") -> int:
    """How many reads of that entity there were."""
    return len([path for path in reader.paths if path.startswith(f"/{entity}/")])


FORMS = ["joined", "repeated", "last", "none"]


@pytest.mark.parametrize("known", [None, "EVAL9999"])
@pytest.mark.parametrize("nothing", [[], GONE])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("there", [range(100), range(0), range(1), range(40, 41), range(99, 100), range(0, 100, 7)])
async def test_accounts_are_found_and_missed_rightly(form: str, nothing: Any, known: str | None, there: range) -> None:
    """However the bulk read takes names, and whatever it says when it finds none: those that are there are found, and
    none is taken for absent that is there.
    """
    rows = [THERE[n] for n in there]
    reader = accounts(form, rows, nothing, known)
    for _ in range(2):  # the second time with what the first has shown
        found = await look(ACCOUNTS, reader, *map(account, range(100)))
        assert [n for n in range(100) if isinstance(found[n], Succeeded)] == list(there)
        assert [n for n in range(100) if isinstance(found[n], NotExecuted)] == [n for n in range(100) if n not in there]


@pytest.mark.parametrize("form", FORMS)
async def test_a_look_up_names_no_trader_but_its_own(form: str) -> None:
    """What shows that a read was understood is the firm's own: another trader may have a call in flight."""
    reader = accounts(form, [THERE[n] for n in range(50)], [], None)
    await look(ACCOUNTS, reader, *map(account, range(50)))
    reader.asked.clear()
    await look(ACCOUNTS, reader, *map(account, range(60, 70)))
    asked = {name for _, query in reader.asked for name in _names(query.get("names", query.get("name", ())))}
    assert asked - {account(n)["name"] for n in range(60, 70)} <= {TEMPLATE["name"]}
    ids = {query["masterid"] for _, query in reader.asked if "masterid" in query}
    assert ids <= {reader.seen.user_id, *(account(n)["userId"] for n in range(60, 70))}


def _names(asked: Any) -> list[str]:
    return asked.split(",") if isinstance(asked, str) else list(asked)


@pytest.mark.parametrize(
    ("form", "nothing", "known", "there", "first", "then"),
    [
        ("joined", [], None, 100, 2, 1),  # a template account is read once for its name
        ("joined", GONE, None, 1, 2, 1),
        ("repeated", [], None, 100, 3, 1),
        ("joined", [], "EVAL9999", 0, 1, 1),  # the name that is there shows that the others are not
        ("joined", GONE, "EVAL9999", 0, 1, 1),
        ("repeated", [], "EVAL9999", 0, 2, 1),
        ("joined", [], None, 0, 2, 1),
        ("repeated", [], None, 0, 3, 1),
    ],
)
async def test_a_hundred_accounts_cost_a_few_reads(
    form: str, nothing: Any, known: str | None, there: int, first: int, then: int
) -> None:
    """One read as soon as it is known that the bulk read understands; two or three to find that out."""
    reader = accounts(form, THERE[:there], nothing, known)
    await look(ACCOUNTS, reader, *map(account, range(100)))
    assert read_of(reader) == first
    await look(ACCOUNTS, reader, *map(account, range(100)))
    assert read_of(reader) == first + then


@pytest.mark.parametrize("there", [0, 100])
async def test_a_bulk_read_that_takes_ten_is_asked_for_ten(there: int) -> None:
    """More were answered with 404: ten at a time, also the next time."""
    reader = accounts("joined", THERE[:there], [], "EVAL9999", most=11)
    found = await look(ACCOUNTS, reader, *map(account, range(100)))
    assert all(isinstance(each, Succeeded if there else NotExecuted) for each in found)
    first = read_of(reader)
    assert first <= 16
    await look(ACCOUNTS, reader, *map(account, range(100)))
    assert read_of(reader) - first <= 12


async def test_where_there_is_no_bulk_read_each_is_asked_for() -> None:
    """A hundred reads, and every account found."""
    reader = accounts("none", THERE, [], None)
    found = await look(ACCOUNTS, reader, *map(account, range(100)))
    assert all(isinstance(each, Succeeded) for each in found)
    assert read_of(reader) <= 106


async def test_a_name_that_is_no_longer_there_misleads_nobody() -> None:
    """An archived account, asked for beside the others, is not found: that says nothing of those."""
    reader = accounts("repeated", THERE, [], None)
    reader.seen.names["/account/finds"] = "EVAL7777"
    found = await look(ACCOUNTS, reader, *map(account, range(100)))
    assert all(isinstance(each, Succeeded) for each in found)


async def test_addresses_stay_short() -> None:
    """Names of 64 characters are asked for in several reads."""
    names = [f"EVAL{'9' * 57}{n:03}" for n in range(100)]
    rows = [{"id": 100 + n, "name": name} for n, name in enumerate(names)]
    reader = accounts("joined", rows, [], None)
    found = await look(ACCOUNTS, reader, *({**account(n), "name": name} for n, name in enumerate(names)))
    assert all(isinstance(each, Succeeded) for each in found)
    assert max(len(str(query.get("names", ""))) for _, query in reader.asked) < 3200
    assert read_of(reader) <= 4


@pytest.mark.parametrize("form", ["joined", "repeated"])
async def test_where_no_name_is_known_two_empty_lists_are_believed(form: str) -> None:
    """In both forms nobody was found, and one name asked for alone is not there either: three reads."""
    reader = FakeReader({"/user/finds": finds(form, [], []), "/user/find": find([])})
    assert await look(USERS, reader, *map(user, range(100))) == [NotExecuted()] * 100
    assert reader.paths == ["/user/finds", "/user/finds", "/user/find"]


async def test_users_are_found_by_their_names_in_one_read() -> None:
    """In any case of letters; the API user's own name shows that the read understands, and one read more, the first
    time, that the answer was not cut. The list of the organization is never asked for.
    """
    rows = [ADMIN, *({**user(n), "id": n + 1, "name": f"USER{n}"} for n in range(50))]
    reader = FakeReader({"/user/finds": finds("joined", rows, GONE), "/user/find": find(rows)})
    reader.seen.names["/user/finds"] = "acme-admin"
    found = await look(USERS, reader, *map(user, range(100)))
    assert [type(each) for each in found] == [Succeeded] * 50 + [NotExecuted] * 50
    assert reader.paths == ["/user/finds"] * 2
    assert await look(USERS, reader, *map(user, range(50, 100))) == [NotExecuted()] * 50
    assert reader.paths == ["/user/finds"] * 3
    await look(USERS, reader, *map(user, range(30, 80)))
    assert reader.paths == ["/user/finds"] * 4


async def test_a_name_that_is_answered_with_another_is_unknown_alone() -> None:
    """A read that finds what is similar says nothing of the name that was asked for. The others are looked up."""
    rows = [{**user(n), "id": n + 1} for n in range(5)]

    def similar(query: Mapping[str, Any]) -> Any:
        return rows[0] if query["name"] == "user7" else find(rows)(query)

    found = await look(USERS, FakeReader({"/user/find": similar}), *map(user, range(10)))
    assert [type(each) for each in found] == [Succeeded] * 5 + [NotExecuted] * 2 + [Unknown] + [NotExecuted] * 2
    there = {"/account/find": lambda query: THERE[0] if query["name"] == "EVAL7" else find(THERE[:5])(query)}
    reader = FakeReader({**there, "/tradingPermission/ldeps": many(*PERMISSIONS)})
    found = await look(ACCOUNTS, reader, *map(account, range(10)))
    assert [type(each) for each in found] == [Succeeded] * 5 + [NotExecuted] * 2 + [Unknown] + [NotExecuted] * 2


async def test_a_user_name_with_a_comma_is_asked_for_alone() -> None:
    """Joined with others it would be two names."""
    rows = [ADMIN, {"id": 5, "name": "doe, jane", "email": "jane@example.com"}]
    reader = FakeReader({"/user/finds": finds("joined", rows, []), "/user/find": find(rows)})
    reader.seen.names["/user/finds"] = "acme-admin"
    wanted = {"name": "doe, jane", "email": "Jane@example.com"}
    found = await look(USERS, reader, user(1), wanted, user(2))
    assert [type(each) for each in found] == [NotExecuted, Succeeded, NotExecuted]


async def test_an_own_permission_is_seen_though_the_bulk_read_hides_it() -> None:
    """The account's own list of permissions tells whose it is when the users' lists say nothing."""
    reader = FakeReader(
        {
            "/account/find": THERE[0],
            "/tradingPermission/deps": [],
            "/user/getaccounttradingpermissions": {
                "tradingPermissions": [{"id": 9, "userId": 1, "status": "Accepted"}, {"id": 8, "userId": 5}]
            },
        }
    )
    (found,) = await look(ACCOUNTS, reader, account(0))
    assert (found.value["accountId"], found.value["tradingPermissionId"]) == (100, 9)


# -- by user


@pytest.mark.parametrize(
    "row", [{}, None, {"id": 7, "userId": 2}, {"id": 7, "userId": 900, "accountId": 1}, {"userId": 2}]
)
async def test_a_row_that_makes_no_sense_is_its_users_alone(row: Any) -> None:
    """It may be what was asked for: its user is not known to have nothing. The others are read, in a few reads more."""
    rows = [each for each in PERMISSIONS if each["userId"] != 2]

    def deps(query: Mapping[str, Any]) -> Any:
        return [row] if query["masterid"] == 2 else one(*rows)(query)

    def ldeps(query: Mapping[str, Any]) -> Any:
        asked = query["masterids"].split(",")
        return [*([row] if "2" in asked else []), *(each for each in rows if str(each["userId"]) in asked)]

    reader = FakeReader({"/tradingPermission/ldeps": ldeps, "/tradingPermission/deps": deps})
    found = await dependents(reader, Domain.DEMO, "tradingPermission", range(1, 101))
    assert [user for user, theirs in found.items() if isinstance(theirs, Unreadable)] == [2]
    assert [found[user] for user in range(1, 101) if user != 2] == [[each] for each in rows]
    assert len(reader.asked) <= 24


async def test_a_gateway_is_not_asked_a_hundred_times() -> None:
    """What answers nothing in a documented form ends the look-up after a few reads."""
    reader = FakeReader({f"/userPlugin/{verb}": {} for verb in ("ldeps", "deps")} | {"/user/item": {}})
    for work in (
        lambda: dependents(reader, Domain.LIVE, "userPlugin", range(1, 101)),
        lambda: by_id(reader, Domain.LIVE, "user", range(1, 101)),
    ):
        reader.asked.clear()
        with pytest.raises(Unreadable):
            await work()
        assert len(reader.asked) <= 16


PLUGINS = [{"id": n, "userId": n, "entitlementId": 31} for n in range(1, 91)]
WANTED = [{"userId": n, "entitlementId": 31} for n in range(1, 101)]


async def test_one_unknown_user_spoils_the_bulk_read_of_a_quarter() -> None:
    """The others are read in bulk all the same."""
    reader = FakeReader(
        {"/userPlugin/ldeps": many(*PLUGINS, unknown=95), "/userPlugin/deps": one(*PLUGINS, unknown=95)}
    )
    found = await look(ADD, reader, *WANTED)
    assert [type(each) for each in found] == [Succeeded] * 90 + [NotExecuted] * 10
    assert len(reader.asked) <= 32


@pytest.mark.parametrize(("most", "first", "then"), [(10, 23, 10), (30, 11, 4), (1000, 3, 1)])
async def test_how_many_users_a_bulk_read_takes_is_learned_once(most: int, first: int, then: int) -> None:
    """The first hundred shows it, and that no answer is cut; those after it take no call more than they need."""
    reader = FakeReader({"/tradingPermission/ldeps": many(*PERMISSIONS, most=most)})
    for calls in (first, then):
        before = len(reader.asked)
        found = await dependents(reader, Domain.DEMO, "tradingPermission", range(1, 101))
        assert all(isinstance(each, list) and len(each) == 1 for each in found.values())
        assert len(reader.asked) - before <= calls


async def test_a_bulk_read_that_does_not_exist_is_tried_once() -> None:
    """Each user is asked for alone; another page of them begins with that. A list says it of all in one call, if its
    rows say whose they are.
    """
    reader = FakeReader({"/tradingPermission/deps": one(*PERMISSIONS)})
    for spent in (9, 0):
        before = len(reader.asked)
        await dependents(reader, Domain.DEMO, "tradingPermission", range(1, 101))
        assert len(reader.asked) - before <= 100 + spent
    listing = FakeReader({"/tradingPermission/list": PERMISSIONS, "/userPlugin/list": [{"id": 1}]})
    found = await listed_dependents(listing, Domain.DEMO, "tradingPermission", [1, 500])
    assert found == {1: [PERMISSIONS[0]], 500: []}
    cut = FakeReader({"/tradingPermission/list": PERMISSIONS[:50], "/tradingPermission/deps": one(*PERMISSIONS)})
    assert await listed_dependents(cut, Domain.DEMO, "tradingPermission", [1, 70]) is None
    assert await listed_dependents(listing, Domain.LIVE, "userPlugin", [1]) is None
    assert await listed_dependents(listing, Domain.LIVE, "tradovateSubscription", [1]) is None


async def test_rows_of_nobody_prove_nothing() -> None:
    """A bulk read that does not tell whose its rows are is asked for each user."""
    strange = [{"id": n, "entitlementId": 31} for n in range(1, 91)]
    reader = FakeReader({"/userPlugin/ldeps": strange, "/userPlugin/deps": one(*PLUGINS)})
    found = await look(ADD, reader, *WANTED)
    assert [type(each) for each in found] == [Succeeded] * 90 + [NotExecuted] * 10


async def test_a_bulk_read_that_finds_nobody_anything_is_checked_once() -> None:
    """It may not understand several users: one of them is asked for alone."""
    reader = FakeReader({"/userPlugin/ldeps": [], "/userPlugin/deps": one(*PLUGINS)})
    found = await look(ADD, reader, *WANTED)
    assert [type(each) for each in found] == [Succeeded] * 90 + [NotExecuted] * 10


async def test_a_user_of_another_firm_leaves_the_others_alone() -> None:
    """A read that is not permitted for one user makes that one unknown."""

    def deps(query: Mapping[str, Any]) -> Any:
        return NotPermitted("a read", "Users", "401") if query["masterid"] == 2 else one(*PLUGINS)(query)

    reader = FakeReader({"/userPlugin/ldeps": NotPermitted("a read", "Users", "401"), "/userPlugin/deps": deps})
    found = await look(ADD, reader, *WANTED[:3])
    assert [type(each) for each in found] == [Succeeded, Unknown, Succeeded]


async def test_a_partner_that_fails_is_not_asked_a_hundred_times() -> None:
    """A 5xx to the bulk read ends the look-up: nothing is known of any item."""
    reader = FakeReader({"/userPlugin/ldeps": Unclear("HTTP 503", 503)})
    with pytest.raises(Unreadable):
        await look(ADD, reader, *WANTED)
    assert len(reader.asked) == 1


@pytest.mark.parametrize("body", [{"error": "invalid_token"}, [{"error": "x"}], {"id": "5"}, [7], "text"])
async def test_an_object_that_is_no_entity_is_not_nothing(body: Any) -> None:
    """What a read answers must be entities or nothing at all: an error of another form is neither."""
    for path, operation, item in (
        ("/userPlugin/deps", ADD, WANTED[0]),
        ("/user/find", USERS, user(1)),
        ("/account/find", ACCOUNTS, account(1)),
    ):
        try:
            (found,) = await look(operation, FakeReader({path: body}), item)
        except Unreadable:
            continue
        assert isinstance(found, Unknown)


async def test_a_bulk_read_that_shows_nothing_is_tried_less_and_less_often() -> None:
    """Where it does not exist, each try costs two reads more; small look-ups, which are many, leave it out."""
    reader = FakeReader({"/user/finds": GONE})
    tried = []
    for _ in range(12):
        before = reader.paths.count("/user/finds")
        await look(USERS, reader, user(1), user(2))
        tried.append(reader.paths.count("/user/finds") - before)
    assert tried == [2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0]
    before = reader.paths.count("/user/finds")
    await look(USERS, reader, *(user(number) for number in range(30)))
    assert reader.paths.count("/user/finds") > before


async def test_a_bulk_read_that_has_found_something_is_always_tried() -> None:
    """Then it costs less than the reads of two names."""
    there = [{"id": number, **user(number)} for number in range(3)]
    reader = FakeReader({"/user/finds": finds("joined", there, [])})
    for _ in range(4):
        await look(USERS, reader, user(1), user(2))
    assert reader.paths == ["/user/finds"] * 4


def test_what_could_not_be_read_has_no_truth_value() -> None:
    """Taken for true or false it would say that something is there, or is not, and neither is known."""
    for unread in (Unreadable(ReadFault.NO_ENTITIES, "user/item"), NotPermitted("user/item", "Users: Read", "")):
        with pytest.raises(TypeError):
            bool(unread)
