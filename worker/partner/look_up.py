"""One look-up of an operation's items, believed only if the hosts that it asked are the right ones.

An empty 404 says "there is none", and a wrong host says it to everything. So may a 200 without a body, with `{}`, or
with anything else that is not the documented form of that read (`single_reads.entities`). What rests on one of them
counts only if the same host has afterwards answered a read of the same look-up in its documented form; if none did, one
read more is made, of something that is there.
What a host says while it restarts may change in the middle of a look-up. So where an item may have been made, such an
answer is asked for once more if the host had not answered anything before it. It is asked for at once if the host
answers a read of something that is there, or else with the whole look-up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from schemas.outcomes import ErrorCode
from worker.partner.bulk_reads import ById, by_id
from worker.partner.masking import mask_all, mask_each
from worker.partner.observed_forms import ACCOUNTS, USERS, ObservedForms
from worker.partner.operation import Entity, Item, Operation, Reader
from worker.partner.read_errors import HostDoubted, NotPermitted, Unreadable
from worker.partner.single_reads import entities
from worker.replies import Answer, Domain, Misdirected, Query, Reply
from worker.results import NotExecuted, Rejected, Result, Unknown

__all__ = ["look", "look_for_needed", "proven", "unread"]

T = TypeVar("T")


async def look(operation: Operation, reader: Reader, items: Sequence[Item], *, sent: bool = True) -> Sequence[Result]:
    """What became of the items. `sent`: some of them were, so that what is absent will be sent a second time.

    Raises `CannotLook`, and `Unreadable` when nothing is known of any of them.
    """
    look_up = operation.recovery.look_up
    assert look_up is not None
    return mask_each(await _settled(reader, lambda watched: look_up(watched, items), items, twice=sent), items)


async def proven(reader: Reader, read: Callable[[Reader], Awaitable[T]], users: Sequence[int] = ()) -> T:
    """What `read` finds, believed as a look-up is: what is not there counts only if the same host has answered another
    read. `users`: whose reads may prove that, besides the API user's own.

    Raises `CannotLook`, and `Unreadable` when nothing is known.
    """
    return await _settled(reader, read, [{"userId": user} for user in users[:1]], twice=True)


async def _settled(reader: Reader, read: Callable[[Reader], Awaitable[T]], items: Sequence[Item], *, twice: bool) -> T:
    watched = _Watched(reader, items, twice)

    async def believed() -> T:
        try:
            found = await read(watched)
        except Unreadable:
            await watched.settle()  # it may be the host, and not what was read
            raise
        await watched.settle()
        return found

    found = await believed()
    return await believed() if twice and watched.early else found


def unread(why: Unreadable, items: Sequence[Item]) -> Sequence[Result]:
    """The results of a look-up that raised `why`: nothing is known of any item."""
    return mask_all(Unknown(str(why)), items)


async def look_for_needed(operation: Operation, reader: Reader, items: Sequence[Item]) -> Sequence[Result]:
    """Whether what the items need is there, after an empty 404 to the call: `Rejected` as not found, or `NotExecuted`.

    Raises `CannotLook`, and `Unreadable` when nothing is known of any of them.
    """
    needed = [operation.recovery.needs(item) for item in items]
    ids: dict[tuple[Domain, str], set[int]] = defaultdict(set)
    for entity in (entity for each in needed for entity in each):
        ids[entity.domain, entity.kind].add(entity.id)

    async def read(watched: Reader) -> Mapping[tuple[Domain, str], ById]:
        return {key: await by_id(watched, *key, wanted) for key, wanted in ids.items()}

    there = await _settled(reader, read, items, twice=False)

    def result(entities: Sequence[Entity]) -> Result:
        missing = [each for each in entities if each.id not in there[each.domain, each.kind]]
        if missing:
            text = ", ".join(f"{each.name} {each.id}" for each in missing)
            return Rejected(f"Tradovate does not know {text}.", ErrorCode.NOT_FOUND)
        read = [there[each.domain, each.kind][each.id] for each in entities]
        unread = next((each for each in read if isinstance(each, Unreadable)), None)
        return NotExecuted() if unread is None else Unknown(str(unread))

    return mask_each([result(each) for each in needed], items)


_BULK = ("/finds", "/items", "/ldeps")


@dataclass(slots=True)
class _Watched:
    """A reader that knows on which domains an empty 404, or a 200 in no documented form, was the last word.

    `twice`: such an answer that came before the domain had answered anything is asked for once more.
    """

    reader: Reader
    items: Sequence[Item]
    twice: bool
    doubtful: set[Domain] = field(default_factory=set)
    answered: set[Domain] = field(default_factory=set)  # domains that have answered a read
    controlled: set[Domain] = field(default_factory=set)  # domains that were asked for something that is there
    early: bool = False  # such an answer came before that, and was not asked for again

    @property
    def seen(self) -> ObservedForms:
        return self.reader.seen

    def now(self) -> datetime:
        return self.reader.now()

    async def get(self, domain: Domain, path: str, **query: Query) -> Reply:
        return await self._believed(domain, path, lambda: self.reader.get(domain, path, **query))

    async def post(self, domain: Domain, path: str, body: Mapping[str, Any]) -> Reply:
        return await self._believed(domain, path, lambda: self.reader.post(domain, path, body))

    async def _believed(self, domain: Domain, path: str, read: Callable[[], Awaitable[Reply]]) -> Reply:
        reply = await read()
        # A bulk read that says so may not exist: it is believed only in a form that has found something.
        believed = not path.endswith(_BULK) or path in self.seen.forms
        if not self._doubts(domain, path, reply) or domain in self.answered or not believed:
            return reply
        if self.twice and domain not in self.controlled:
            self.controlled.add(domain)
            if await self._control(domain):
                reply = await read()
                self._doubts(domain, path, reply)
                return reply
        self.early = True
        return reply

    def _doubts(self, domain: Domain, path: str, reply: Reply) -> bool:
        """Whether a wrong host may have said so."""
        match reply:
            case Answer(body) if entities(path, body) is not None:
                self.doubtful.discard(domain)
                self.answered.add(domain)
                return False
            case Misdirected(status=404) | Answer():
                self.doubtful.add(domain)
                return True
            case _:
                return False  # it is no answer of the partner to what was asked

    async def settle(self) -> None:
        """Raises `HostDoubted` when a domain has answered nothing since it last said so."""
        for domain in sorted(self.doubtful):
            if not await self._control(domain):
                raise HostDoubted(domain)

    async def _control(self, domain: Domain) -> bool:
        """Whether the domain answers a read of something that is there."""
        for path, query in _controls(self.seen, domain, self.items):
            try:
                self._doubts(domain, path, await self.reader.get(domain, path, **query))
            except NotPermitted:
                continue
            if domain not in self.doubtful:
                self.seen.controls[domain] = path, query
                return True
        return False


def _controls(seen: ObservedForms, domain: Domain, items: Sequence[Item]) -> Sequence[tuple[str, Mapping[str, Query]]]:
    """Reads of something that is there, the likeliest first. A user who is not there may be answered 404 as well."""
    users = [seen.user_id, next((item["userId"] for item in items if "userId" in item), None)]
    path = "/userPlugin/deps" if domain is Domain.LIVE else "/tradingPermission/deps"
    reads: list[tuple[str, Mapping[str, Query]]] = [
        (path, {"masterid": user}) for user in dict.fromkeys(users) if user is not None
    ]
    template = next((item["templateAccountId"] for item in items if "templateAccountId" in item), None)
    if domain is Domain.LIVE:
        reads.append(("/tradovateSubscriptionPlan/list", {}))
    elif template is not None:
        reads.append(("/account/item", {"id": template}))
    if domain is Domain.DEMO and ACCOUNTS in seen.names:
        reads.append(("/account/find", {"name": seen.names[ACCOUNTS]}))
    if USERS in seen.names:
        reads.append(("/user/find", {"name": seen.names[USERS]}))
    if domain in seen.controls:
        reads.insert(0, seen.controls[domain])
    return [read for number, read in enumerate(reads) if read not in reads[:number]]
