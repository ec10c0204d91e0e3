"""Moments at which a member is hit, seen from outside: in the bytes that pass its links."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tests.torture.links import Way
from tests.torture.member import Member
from tests.torture.system import System


class Moment(Enum):
    """When a blow falls."""

    ANY = "at any time"
    CALL_SENT = "a call leaves"
    ANSWERED = "a call is answered"
    LOOK_UP = "a look-up leaves"
    SIGNAL = "a signal comes"
    ASKED = "a bridge asks on its socket"
    TRANSACTION = "in a transaction"
    COMMIT = "a transaction is committed"
    PUBLISHING = "a record is published"
    OFFSETS = "offsets are committed"
    JOINING = "the group is joined"


_LOOK_UP = re.compile(rb"(?:GET|POST) (?:/\w+)?/v1/\w+/(?:finds?|l?deps|items?|list)\b", re.IGNORECASE)
_CALL = re.compile(rb"POST (?:/\w+)?/v1/(?!auth/)")
_KAFKA = {0: Moment.PUBLISHING, 8: Moment.OFFSETS, 11: Moment.JOINING}
"""By the number of the request (Kafka protocol, "Api Keys"): Produce, OffsetCommit, JoinGroup."""


def of_partner(way: Way, data: bytes) -> Moment | None:
    """Of a piece of data between a member and the partner."""
    if way is Way.BACK:
        if data.startswith(b"HTTP/1.1 2"):
            return Moment.ANSWERED
        return Moment.SIGNAL if b"dminAlertSignal" in data else None
    if _LOOK_UP.match(data):
        return Moment.LOOK_UP
    return Moment.CALL_SENT if _CALL.match(data) else None


def of_socket(way: Way, data: bytes) -> Moment | None:
    """Of a piece of data that a bridge sends: its frames are masked, and requests are the only long ones."""
    return Moment.ASKED if way is Way.THERE and len(data) > _HEARTBEAT and data[:1] == b"\x81" else None


_HEARTBEAT = 16
"""Bytes of a heartbeat's frame at most."""


def of_database(way: Way, data: bytes) -> Moment | None:
    """Of a piece of data between a member and PostgreSQL."""
    if way is Way.BACK:
        return None
    if data.endswith(b"commit\x00"):
        return Moment.COMMIT
    return Moment.TRANSACTION if data.endswith(b"begin\x00") else None


def of_kafka(way: Way, data: bytes) -> Moment | None:
    """Of a piece of data between a member and the broker; of several requests the first one."""
    return _KAFKA.get(int.from_bytes(data[4:6], "big")) if way is Way.THERE and len(data) >= 8 else None


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
