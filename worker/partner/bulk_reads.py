"""Many entities at once: by name (`finds`), by id (`items`), by user (`ldeps`), whatever form these reads have.

The vendor names the reads and says no more. So a bulk read is believed once it has shown that it understands: it found
something that was asked for in that form. Before that, or where it does not exist, each value is asked for alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from worker.partner.alone import Alone
from worker.partner.observed_forms import QueryForm
from worker.partner.operation import Reader
from worker.partner.read_errors import ReadFault, Unreadable
from worker.partner.single_reads import No, Page, Row, find, folded, is_id, item, one, page
from worker.partner.whole_pages import found_besides, holds_all
from worker.replies import Domain

T = TypeVar("T")

MOST = 100
"""Values a read; the vendor's own limit of items a call."""
FEW = 10
"""Values that `items` takes: more were answered with 404 (measured)."""
FEW_NAMES = 20
"""Names that may be asked for alone where a bulk read has shown nothing so far (`ObservedForms.tries`)."""
URL_LIMIT = 3000
"""Characters of the names in one address: servers and proxies commonly take 8,192 in all, some only 4,096."""

ByName = Mapping[str, list[Row] | Unreadable]
"""Entities by `folded` name; what is not there is left out, and what could not be read has its reason."""

ById = Mapping[int, Row | Unreadable]
"""Entities by id; what is not there is left out, and what could not be read has its reason."""


def chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """`values` in lists of at most `size`."""
    everything = list(values)
    for start in range(0, len(everything), size):
        yield everything[start : start + size]


async def by_names(reader: Reader, domain: Domain, entity: str, names: Iterable[str]) -> ByName:
    """Entities by `folded` name. A name may have several: names are not known to be unique. Raises `Unreadable` when
    the partner fails.
    """
    found: dict[str, list[Row]] = defaultdict(list)
    unread: dict[str, Unreadable] = {}
    apart = Alone()
    wanted = sorted({folded(name): name for name in names}.values())
    path = f"/{entity}/finds"
    alone = [name for name in wanted if "," in name]  # joined with others it would be two
    asked: list[str] = []  # in bulk, without learning whether they are there
    useless = path in reader.seen.broken or (1 < len(wanted) <= FEW_NAMES and not reader.seen.take_try(path))
    for some in _short([name for name in wanted if "," not in name], reader.seen.most.get(path, MOST)):
        if len(some) == 1 or useless:
            alone += some
        else:
            asked += await _finds(reader, domain, entity, some, found)
    if asked and path not in reader.seen.forms:
        reader.seen.in_vain[path] = reader.seen.in_vain.get(path, 0) + 1
    for name in [*alone, *asked]:
        row = await apart.read(find(reader, domain, entity, name))
        if isinstance(row, Unreadable):
            unread[folded(name)] = row
        elif row is not None:
            found[folded(name)].append(row)
            if name in asked:
                reader.seen.broken.add(path)
    return {**found, **unread}


def _short(names: Sequence[str], most: int) -> Iterator[list[str]]:
    """`names` in lists that are short enough for an address."""
    some: list[str] = []
    length = 0
    for name in names:
        size = len(quote(name)) + len("&names=")
        if some and (len(some) == most or length + size > URL_LIMIT):
            yield some
            some, length = [], 0
        some.append(name)
        length += size
    if some:
        yield some


async def _finds(
    reader: Reader, domain: Domain, entity: str, names: list[str], found: dict[str, list[Row]]
) -> Sequence[str]:
    """Puts what a bulk read finds into `found`; returns the names about which it says nothing."""
    seen, path = reader.seen, f"/{entity}/finds"
    known, learned = seen.names.get(path), seen.forms.get(path)
    beside = known is not None and folded(known) not in map(folded, names)
    asked = [names[0], str(known), *names[1:]] if beside else names
    places = {folded(name): place for place, name in enumerate(asked)}
    pages: list[Page] = []
    for form in sorted(QueryForm, key=lambda each: each is not learned):
        pages.append(await page(reader, domain, path, names=",".join(asked) if form is QueryForm.JOINED else asked))
        rows = [row for row in _listed(pages[-1]) if folded(str(row.get("name"))) in places and is_id(row.get("id"))]
        for row in rows:
            if row not in found[folded(row["name"])]:
                found[folded(row["name"])].append(row)
        if _understood(form, [places[folded(row["name"])] for row in rows], len(asked)):
            seen.forms[path] = form
            there = [name for name in names if found.get(folded(name))]
            missing = [name for name in names if not found.get(folded(name))]
            more, unknown = await found_besides(reader, domain, path, form, missing, there)
            for row in more:
                found[folded(row["name"])].append(row)
            return unknown
        if form is learned and (pages[-1] == [] or (pages[-1] is No.NOT_THERE and not beside)):
            return ()  # it has understood this form before, and there is nothing to find
    missing = [name for name in names if not found[folded(name)]]
    if len(names) > FEW and No.NOT_THERE in pages:
        return await _fewer(reader, domain, entity, missing, found)
    if beside:
        del seen.names[path]  # archived meanwhile, or not shown to us
    elif all(each == [] for each in pages):
        return await _nobody(reader, domain, entity, missing, found)
    return missing


def _listed(answered: Page) -> Sequence[Row]:
    return () if isinstance(answered, No) else answered


def _understood(form: QueryForm, places: Sequence[int], asked: int) -> bool:
    """Whether the rows that were found, identified by the places of their names, show that all names were understood.

    A server that takes one of several equal parameters takes the first or the last.
    """
    if form is QueryForm.JOINED:
        return bool(places)
    return len(set(places)) > 1 or any(0 < place < asked - 1 for place in places)


async def _nobody(
    reader: Reader, domain: Domain, entity: str, names: list[str], found: dict[str, list[Row]]
) -> Sequence[str]:
    """Both forms were answered with an empty list, and one of them must be right. The first name is asked for alone:
    were it there, none of them would be.
    """
    row = await Alone().read(find(reader, domain, entity, names[0]))
    if row is None:
        return ()
    if isinstance(row, Unreadable):
        return names
    found[folded(names[0])].append(row)
    return names[1:]


async def _fewer(
    reader: Reader, domain: Domain, entity: str, names: list[str], found: dict[str, list[Row]]
) -> Sequence[str]:
    """A bulk read that fails for many may serve a few. If it does not either, all are asked for alone."""
    left: list[str] = []
    for number, some in enumerate(chunks(names, FEW)):
        still = await _finds(reader, domain, entity, some, found)
        if number == 0 and len(still) == len(some):
            return names
        reader.seen.most[f"/{entity}/finds"] = FEW
        left += still
    return left


async def dependents(
    reader: Reader, domain: Domain, entity: str, users: Iterable[int], *, owner: str = "userId"
) -> dict[int, list[Row] | Unreadable]:
    """A kind of entity by user: all that each user has, or why it could not be read. Likewise by account, where rows
    say in the field `owner` whose they are.

    Raises `Unreadable` when the partner fails. One user whom the partner does not know, or who is another firm's, may
    make the whole bulk read fail. It is then repeated in halves until that user is found.
    """
    found: dict[int, list[Row] | Unreadable] = {}
    path = f"/{entity}/ldeps"
    halving = _Halving(owner, useless=path in reader.seen.broken)
    left = sorted(set(users))
    while left:
        most = reader.seen.most.get(path, MOST)
        some, left = left[:most], left[most:]
        halving.left = _MAY_FAIL
        await _halved(reader, domain, entity, some, found, halving)
    return found


async def listed_dependents(
    reader: Reader, domain: Domain, entity: str, users: Iterable[int]
) -> dict[int, list[Row] | Unreadable] | None:
    """What each user has, out of all that the organization has: one call, and one that shows that it was not cut. None
    where that cannot be had, was cut, or does not say whose each row is.
    """
    rows = await page(reader, domain, f"/{entity}/list")
    if isinstance(rows, No) or not all(is_id(row.get("userId")) for row in rows):
        return None
    found: dict[int, list[Row] | Unreadable] = {user: [] for user in users}
    for row in rows:
        if isinstance(theirs := found.get(row["userId"]), list):
            theirs.append(row)
    newest = max((user for user in found if not found[user]), default=None)  # a list that was cut lacks the newest
    if newest is not None and await Alone().read(_deps(reader, domain, entity, newest, "userId")) != []:
        return None
    return found


_MAY_FAIL = 24
"""How often one bulk read may fail while it is asked in halves, about what three users cost: with more of them, asking
for each alone takes fewer calls."""


@dataclass(slots=True)
class _Halving:
    """Bulk reads that are asked in halves. `left`: how often this one may still fail."""

    owner: str = "userId"  # the field that says whose a row is
    left: int = _MAY_FAIL
    useless: bool = False  # two were answered alone, and not together
    empty: bool = False  # a user of an empty answer was asked for alone, and had nothing: so do others
    alone: Alone = field(default_factory=Alone)


async def _halved(
    reader: Reader,
    domain: Domain,
    entity: str,
    users: Sequence[int],
    found: dict[int, list[Row] | Unreadable],
    halving: _Halving,
) -> bool:
    """Whether one bulk read has answered for all of them."""
    if len(users) == 1 or halving.useless or halving.left <= 0:
        for user in users:
            found[user] = await halving.alone.read(_deps(reader, domain, entity, user, halving.owner))
        return False
    path = f"/{entity}/ldeps"
    if len(users) > (most := reader.seen.most.get(path, MOST)):
        for some in chunks(users, most):
            await _halved(reader, domain, entity, some, found, halving)
        return False
    rows = await _ldeps(reader, domain, entity, users, halving)
    if rows is not None:
        found |= rows
        return True
    halving.left -= 1
    half = FEW if FEW < len(users) < 2 * FEW else (len(users) + 1) // 2
    parts = users[:half], users[half:]
    answered = [await _halved(reader, domain, entity, part, found, halving) for part in parts]
    if all(answered):  # nobody among them spoils it: it is their number
        reader.seen.most[path] = half
    # A user without any row may be one whom the partner does not know.
    if len(users) == 2 and all(isinstance(found[user], list) and found[user] for user in users):
        halving.useless = True
        if path not in reader.seen.lists:
            reader.seen.broken.add(path)
    return False


async def _ldeps(
    reader: Reader, domain: Domain, entity: str, users: Sequence[int], halving: _Halving
) -> dict[int, list[Row]] | None:
    """None when the bulk read does not exist, or does not understand."""
    path = f"/{entity}/ldeps"
    rows = await page(reader, domain, path, masterids=",".join(map(str, users)))
    if isinstance(rows, No):
        return None
    found: dict[int, list[Row]] = {user: [] for user in users}
    for row in rows:
        user = row.get(halving.owner)
        if user not in found:
            return None  # whose it is cannot be seen, so nobody is known to have none
        found[user].append(row)
    if rows:
        if not await holds_all(reader, domain, path, halving.owner, found):
            return None
        reader.seen.lists.add(path)
    elif path not in reader.seen.lists and not halving.empty:
        if await halving.alone.read(_deps(reader, domain, entity, users[0], halving.owner)) != []:
            return None
        halving.empty = True
    return found


async def _deps(reader: Reader, domain: Domain, entity: str, user: int, owner: str) -> list[Row]:
    path = f"/{entity}/deps"
    found = await one(reader, domain, path, masterid=user)
    if any(row.get(owner) not in (None, user) for row in found):
        raise Unreadable(ReadFault.OTHER_ID, path.strip("/"))
    return [{**row, owner: user} for row in found]


async def by_id(reader: Reader, domain: Domain, entity: str, ids: Iterable[int]) -> ById:
    """Entities by their ids. Raises `Unreadable` when the partner fails.

    `items` may answer fewer than asked, in any order. A missing row is believed only of `item`.
    """
    found: dict[int, Row | Unreadable] = {}
    alone = Alone()
    for some in chunks(sorted(set(ids)), FEW):
        if len(some) > 1:
            rows = await page(reader, domain, f"/{entity}/items", ids=",".join(map(str, some)))
            if not isinstance(rows, No):
                found |= {row["id"]: row for row in rows if row.get("id") in some}
        for missing in [each for each in some if each not in found]:
            row = await alone.read(item(reader, domain, entity, missing))
            found |= {} if row is None else {missing: row}
    return found


def readable(found: T | Unreadable) -> T:
    """What was found; raises `Unreadable` when it could not be read."""
    if isinstance(found, Unreadable):
        raise found
    return found
