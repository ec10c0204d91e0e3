"""What a `trader.purchased` learns, and what its order's next owner needs of that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from worker.engine.facts import NOTHING_SEEN, STORED, OrderFacts, Seen


class UserFrom(StrEnum):
    """Where the trader's user comes from: it decides whether an account may be older than the purchase."""

    MADE = "made"  # by this flow, or by another one of this ledger
    ADOPTED = "adopted"  # there already, and ours
    KNOWN = "known"  # to the ledger, which has not made it
    GIVEN = "given"  # by the event


class Contact(StrEnum):
    """What became of the contact data."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """An account that was found and is ours by what Tradovate says. What is None is not known, or not there.

    `unread`: what the ledger knows of it has not been loaded yet. `permission_status`: of a permission that has ended.
    """

    __pydantic_config__: ClassVar = STORED

    account_id: int
    account_name: str | None
    permission_id: int | None
    permission_status: str | None = None
    unread: bool = False


@dataclass(frozen=True, slots=True)
class FoundUser:
    """A user of the event's login name and e-mail, who was there already. `unread`: it has not been loaded yet whether
    the ledger knows the user as another trader's.
    """

    __pydantic_config__: ClassVar = STORED

    user_id: int
    unread: bool = True


@dataclass(frozen=True, slots=True)
class PurchaseLeft:
    """What a purchase leaves to the order's next owner: its account, and the terms of that, for the owner to adopt.

    `asked`: see `PurchasedFacts`.
    """

    __pydantic_config__: ClassVar = STORED

    account_id: int | None = None
    terms: str | None = None
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PurchasedFacts(OrderFacts):
    """The ids of what was made, and what has to be verified before more is made."""

    user_from: UserFrom | None = None
    contact: Contact | None = None
    terms: str | None = None
    """A digest of the terms with which the account was created."""
    asked: tuple[str, ...] = ()
    """Account names of the shop's choice that were sent, while their result is unknown. If the order ended then, an
    account may exist under one of them, although the next event gives another name."""
    found_user: FoundUser | None = None
    adopting: FoundAccount | None = None
    account_adopted: bool = False
    """The account was there before: a trading permission may be, too."""
    left: PurchaseLeft | None = None

    @property
    def seen(self) -> Seen:
        """An account and a user that were found: they may be another order's and another trader's."""
        if self.adopting is None and self.found_user is None:
            return NOTHING_SEEN
        accounts = () if self.adopting is None else (self.adopting.account_id,)
        return Seen(accounts, user_ids=() if self.found_user is None else (self.found_user.user_id,))

    @property
    def adopts(self) -> bool:
        """Whether an account was found that has not been adopted yet."""
        return self.adopting is not None

    @property
    def made_user(self) -> bool:
        """Whether this flow has made the trader's user."""
        return self.user_from is UserFrom.MADE

    @property
    def only_of_trader(self) -> bool:
        """Whether no more is known than the user."""
        return self.differs_in(self.at_start()) <= {"user_id", "user_from", "found_user"}

    def kept(self) -> PurchasedFacts:
        """Nothing is known in a new round but what was left behind, which has to be verified."""
        contact = Contact.DONE if self.contact is Contact.DONE else None
        return PurchasedFacts(left=self.left or PurchaseLeft(), contact=contact)

    def left_behind(self, _user_id: int | None) -> PurchaseLeft:
        """The account with its terms, or else what this owner had not adopted; names whose effect is not known."""
        left = self.left or PurchaseLeft()
        if self.account_id is not None:
            return PurchaseLeft(self.account_id, self.terms, self.asked)
        return PurchaseLeft(left.account_id, left.terms, self.asked or left.asked)
