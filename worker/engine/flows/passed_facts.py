"""What a `trader.passed` learns of its subaccount request, and what its order's next owner needs of that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from worker.engine.facts import STORED, OrderFacts, changed

DENIED, APPROVED = "Denied", "Approved"
"""Tradovate's status of a request whose review has ended."""


@dataclass(frozen=True, slots=True)
class Reported:
    """The status that the last `pending` outcome has given; None: the partner gave none."""

    __pydantic_config__: ClassVar = STORED

    status: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLeft:
    """What an owner leaves to the order's next one: the request, for the next one to follow."""

    __pydantic_config__: ClassVar = STORED

    user_id: int | None = None
    request_id: int | None = None
    request_status: str | None = None
    requested_at: datetime | None = None
    uploaded: int = 0
    terms: str | None = None


@dataclass(frozen=True, kw_only=True)
class PassedFacts(OrderFacts):
    """The request, and how far its documents and its review are."""

    cleared: bool = False
    """The partner knows no duplicate of the request."""
    requested_at: datetime | None = None
    uploaded: int = 0
    """Documents that were sent, or refused."""
    terms: str | None = None
    """A digest of the terms that were asked for."""
    polls: int = 0
    approved_polls: int = 0
    """Those that have said that the request is approved."""
    message: str | None = None
    """What the partner said about the review last."""
    reported: Reported | None = None
    left: RequestLeft | None = None

    def kept(self) -> PassedFacts:
        """The request is followed on; a denied one is forgotten, with what led to it."""
        if self.request_status == DENIED:
            return PassedFacts(user_id=self.user_id, not_made=self.not_made)
        return PassedFacts(
            user_id=self.user_id,
            request_id=self.request_id,
            request_status=self.request_status,
            requested_at=self.requested_at,
            uploaded=self.uploaded,
            terms=self.terms,
            cleared=self.cleared,
            not_made=self.not_made,
            reported=self.reported,
            left=self.left,
        )

    def left_behind(self, user_id: int | None) -> RequestLeft:
        """The request that this owner has made or followed, or else the one that it had not taken on."""
        if self.request_id is None:
            return self.left or RequestLeft()
        return RequestLeft(
            user_id=user_id if self.user_id is None else self.user_id,
            request_id=self.request_id,
            request_status=self.request_status,
            requested_at=self.requested_at,
            uploaded=self.uploaded,
            terms=self.terms,
        )

    def following(self, left: RequestLeft) -> PassedFacts:
        """The facts with the request of a former owner."""
        return changed(
            self,
            request_id=left.request_id,
            request_status=left.request_status,
            requested_at=left.requested_at,
            uploaded=left.uploaded,
            terms=left.terms,
        )
