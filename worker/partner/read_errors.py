"""Why a read at Tradovate proves nothing: it cannot be made now, or what it was answered with is not what was asked."""

from __future__ import annotations

from enum import Enum
from typing import NoReturn

from worker.errors import Unavailable, WorkerError
from worker.replies import Domain, Reply


class LookObstacle(Enum):
    """Why a look-up cannot go on now. `detail`: what the ledger says, or the kind of a reply; `read`: which read."""

    OTHER_SESSION = "the token, and perhaps a host, has changed in the middle of the look-up"
    UNAUTHORIZED = "the token was not accepted"
    NO_CALL = "{detail}"  # no budget, a hold, or a reply that says that the call was not handled
    NOT_HANDLED = "{detail} ({read})"
    OTHER_REPLY = "Tradovate answered {detail} to {read}"


class CannotLook(Unavailable):
    """A look-up cannot go on now: no budget, a lock-out, no session. The items stay unknown."""

    def __init__(self, obstacle: LookObstacle, detail: str = "", read: str = "") -> None:
        super().__init__(obstacle.name, detail, read)
        self.obstacle = obstacle
        self.detail = detail
        self.read = read

    @property
    def why(self) -> str:
        """For log and health."""
        return self.obstacle.value.format(detail=self.detail, read=self.read)

    @property
    def sentence(self) -> str:
        """The same."""
        return self.why


class ReadFault(Enum):
    """What is wrong with the answer to a read."""

    NO_ENTITIES = "{read} is not answered in its documented form"
    OTHER_NAME = "{read} answered with another name"
    OTHER_ID = "{read} answered with another id"
    NO_ID = "{read} answered with a trading permission without an id"
    OTHER_ACCOUNT = "{read} answered with a trading permission on another account"
    NO_LIMIT = "the account's {read} is of another type than that limit has"
    NO_ENTITLEMENT = "an entitlement of user {read} says not which it is"
    NO_MONTH = "market data {read} says of no month that it is for"
    NOT_LISTED = "{read} is not to be had ({said})"
    NO_ANSWER = "{read}: {said}"


class Unreadable(WorkerError):
    """A read was answered, but not with what was asked: the items stay unknown.

    `read`: the path, or an id. `said`: the partner's words, masked, or the kind of its reply.

    Bulk reads return it in the place of the rows of one item. `isinstance` tells the two apart: it is neither "there
    is some" nor "there is none", so it has no truth value.
    """

    def __init__(self, fault: ReadFault, read: str = "", said: str = "") -> None:
        super().__init__(fault.name, read, said)
        self.fault = fault
        self.read = read
        self.said = said

    def __bool__(self) -> NoReturn:
        """Raises `TypeError`: what could not be read is not known to be there, and not known to be absent."""
        raise TypeError("what could not be read is neither true nor false")

    @property
    def sentence(self) -> str:
        """For the result of the items."""
        return self.fault.value.format(read=self.read, said=self.said)


class NotPermitted(Unreadable):
    """A read was answered 401 although the token is good: the key lacks a permission, or the id is not the firm's.

    `needs`: the permission class of the path.
    """

    def __init__(self, read: str, needs: str, said: str) -> None:
        super().__init__(ReadFault.NO_ANSWER, read, said)
        self.needs = needs

    @property
    def sentence(self) -> str:
        """With the permission that an operator has to give to the API key."""
        return f"{self.read} is not permitted to this API key, which needs {self.needs} ({self.said})"


class HostDoubted(Unreadable):
    """A host has answered no read in its documented form, after it said that something is not there: it may be the
    wrong one, and nothing is known to be absent.
    """

    def __init__(self, domain: Domain) -> None:
        super().__init__(ReadFault.NO_ANSWER, domain.upper())
        self.domain = domain

    @property
    def sentence(self) -> str:
        """For log and health."""
        return (
            f"{self.read} answers no read (404 without a body, or HTTP 200 without what was asked for): it may be the"
            " wrong host"
        )


def no_answer(path: str, reply: Reply) -> Unreadable:
    """A reply that says nothing of what was read."""
    return Unreadable(ReadFault.NO_ANSWER, path.strip("/"), type(reply).__name__)
