"""Blows that wait for a moment: the links are looked at until it comes, and at no other time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.links import Way
from tests.torture.member import Member
from tests.torture.moments import Moment, of_database, of_kafka, of_partner, of_socket
from tests.torture.system import System


@dataclass(eq=False)
class _Aim:
    """Waits for a moment of a member that fits. `strike` is called then, and no more."""

    moment: Moment
    fits: Callable[[Member], bool]
    after: float | None
    strike: Callable[[Member], None]
    hit: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Aims:
    """Looks at what passes the links while a blow waits for its moment, and at no other time."""

    system: System
    _waiting: list[_Aim] = field(default_factory=list)
    _owners: dict[int, Member | None] = field(default_factory=dict)
    """Whose connection to the partner has this port: links to the partner are shared."""

    async def strike(
        self,
        moment: Moment,
        fits: Callable[[Member], bool],
        after: float | None,
        within: float,
        do: Callable[[Member], None],
    ) -> bool:
        """Does it to the first member that fits and for whom the moment comes. False: for none, in this time."""
        aim = _Aim(moment, fits, after, do)
        self._waiting.append(aim)
        self._watch()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(aim.hit.wait(), within)
        finally:
            if aim in self._waiting:
                self._waiting.remove(aim)
            self._watch()
        return aim.hit.is_set()

    def _watch(self) -> None:
        for link in self.system.partner_links.values():
            link.watcher = self._at_partner if self._waiting else None
        for member in self.system.members:
            for link, of in ((member.kafka, of_kafka), (member.database, of_database)):
                link.watcher = self._of_member(member, of) if self._waiting else None
        if not self._waiting:
            self._owners.clear()  # ports are used again

    def _of_member(
        self, member: Member, of: Callable[[Way, bytes], Moment | None]
    ) -> Callable[..., Callable[[], None]]:
        def seen(way: Way, data: bytes, _port: int) -> Callable[[], None]:
            moment = of(way, data)
            return _nothing if moment is None else self._come(moment, lambda: member)

        return seen

    def _at_partner(self, way: Way, data: bytes, port: int) -> Callable[[], None]:
        moment = of_partner(way, data) or of_socket(way, data)
        return _nothing if moment is None else self._come(moment, lambda: self._owner(port))

    def _come(self, moment: Moment, whose: Callable[[], Member | None]) -> Callable[[], None]:
        """A moment has come; what is returned is to be called once the bytes have passed."""
        aims = [aim for aim in self._waiting if aim.moment is moment]
        if not aims or (member := whose()) is None:
            return _nothing
        aim = next((aim for aim in aims if aim.fits(member)), None)
        if aim is None:
            return _nothing
        self._waiting.remove(aim)

        def strike() -> None:
            aim.strike(member)
            aim.hit.set()

        if aim.after is None:
            strike()
            return _nothing
        after = aim.after
        return strike if not after else lambda: _later(after, strike)

    def _owner(self, port: int) -> Member | None:
        if port not in self._owners:
            self._owners[port] = owner(port, self.system.members)
        return self._owners[port]


def _nothing() -> None:
    return


def _later(seconds: float, do: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, do)


def owner(port: int, members: Sequence[Member]) -> Member | None:
    """Whose process has the connection that comes from this port of this machine (Linux)."""
    wanted = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, _, _, _, _, _, _, inode, *_ = line.split()
        if local == wanted and inode != "0":
            break
    else:
        return None
    socket = f"socket:[{inode}]"
    for member in members:
        if member.process is None:
            continue
        with suppress(OSError):  # it may end meanwhile
            for descriptor in Path(f"/proc/{member.process.pid}/fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) == socket:
                        return member
    return None
