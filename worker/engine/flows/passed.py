"""`trader.passed`: a funded subaccount is asked for, once, and its review is followed to the end. It moves money.

Nothing lists requests. So the partner is asked for a duplicate before the first request. After an unknown result the
request is never sent again automatically: the outcome is `in_doubt`, and an operator decides.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import orjson

from schemas.events import TraderPassed
from schemas.outcomes import ErrorCode, Status
from worker.backoff import spread
from worker.engine.facts import Facts, changed
from worker.engine.flows.base import (
    SUCCEEDED,
    End,
    Item,
    Names,
    Planned,
    Rules,
    Send,
    View,
    WithoutOrder,
    failed,
    of_type,
)
from worker.engine.flows.common import ended_by, follow, jitter, known_user, restricted, trade_date
from worker.engine.flows.departing import stopped
from worker.engine.flows.passed_facts import APPROVED, DENIED, PassedFacts, Reported
from worker.results import Failure, Result, Succeeded

KIND = "passed"

CHECK = "checkDuplicate"
REQUEST = "createPartnerSubaccountRequest"
DOCUMENT = "submitPartnerSubaccountDocument"
STATUS = "getPartnerSubaccountRequestStatus"

SLOTS = (("POAForm", "poa-form"), ("Id", "identity"), ("AddressVerificationFAFTA", "address"))
"""Document types in the order in which the event gives them, and how their files are called."""

SOON, LATE = timedelta(minutes=10), timedelta(minutes=15)
"""Polled every 30 to 60 s in the first ten minutes, then less often, down to every fifteen minutes (README, "What
happens when")."""

POLLS_FOR_ID = 3
"""Polls that say that a request is approved, after which it ends without its account's id: the vendor does not promise
one. They follow each other as those of a new request, however long the review has taken."""

OTHER_TERMS = "The request was made by an earlier event of this order, with other terms; it is followed as it is."


class Subaccount(WithoutOrder):
    """A funded subaccount is asked for."""

    topic = "trader.passed"
    facts = PassedFacts

    def names(self, event: TraderPassed) -> Names:
        """The trader, the order, and all that this trader passed before."""
        return Names(
            trader_id=event.trader_id,
            user_id=event.user_id,
            order_id=event.order_id,
            owns_order=True,
            order_kind=KIND,
            of_trader=True,
            gives=True,
        )

    def details(self, event: TraderPassed) -> bytes:
        """Who, and the terms of the account; the trader's personal data do not count (README, "What happens when")."""
        trader = event.trader_id if event.trader_id is not None else event.user_id
        return orjson.dumps({"trader": trader, **_terms(event)}, option=orjson.OPT_SORT_KEYS)

    def plan(self, view: View, rules: Rules) -> Planned:
        """Duplicate check, request, documents, then its review."""
        event, order = _event(view), view.order
        if order is not None and order.flow_id != view.flow_id:
            return follow(view, order)
        facts = of_type(view.facts, PassedFacts).new_round()
        end = restricted(event.application.country, event.application.citizenship)
        if end is not None:
            return Planned(end, facts)
        # Once it is known, it stays: what has been asked for is not left halfway.
        user = facts.user_id or known_user(view, rules, event.trader_id, event.user_id)
        if not isinstance(user, int):
            return Planned(user, facts)
        adopted = _adopted(event, changed(facts, user_id=user), user)
        if isinstance(adopted, End):
            return Planned(adopted, facts)
        facts = adopted
        if facts.request_id is None:
            cleared = facts.cleared or facts.not_made or _requested_before(view)
            return Planned(stopped(view) or Send(REQUEST if cleared else CHECK), facts)
        return _review(view, facts)

    def learn(self, view: View, operation: str, result: Result) -> Planned | Facts:
        """Learns from each step. A refused document does not stop the others."""
        facts = of_type(view.facts, PassedFacts)
        if not isinstance(result, Succeeded):
            return _failed(view, facts, operation, result)
        value = result.value
        match operation:
            case "checkDuplicate":
                return changed(facts, cleared=True)
            case "createPartnerSubaccountRequest":
                return changed(
                    facts,
                    request_id=value["requestId"],
                    request_status=value["requestStatus"],
                    requested_at=view.now,
                    terms=_digest(_event(view)),
                )
            case "submitPartnerSubaccountDocument":
                return changed(facts, uploaded=facts.uploaded + 1)
            case _:
                return changed(
                    facts,
                    polls=facts.polls + 1,
                    approved_polls=facts.approved_polls + (value["requestStatus"] == APPROVED),
                    request_status=value["requestStatus"],
                    message=value.get("message", facts.message),
                    account_id=value.get("accountId", facts.account_id),
                )

    def item(self, view: View, operation: str, _rules: Rules) -> Item:
        """The partner's body of each of the four operations."""
        match operation:
            case "checkDuplicate":
                return _suspect(view)
            case "createPartnerSubaccountRequest":
                return _request(view)
            case "submitPartnerSubaccountDocument":
                return _document(view)
            case _:
                return {"subAccountRequestId": view.facts.request_id}


def _adopted(event: TraderPassed, facts: PassedFacts, user: int) -> PassedFacts | End:
    """The facts with the request that a former owner of the order made for this user; one for another is a conflict."""
    left = facts.left
    if facts.request_id is not None or left is None or left.request_id is None or left.request_status == DENIED:
        return facts
    if left.user_id != user:
        text = f"Order {event.order_id} has subaccount request {left.request_id}, which is another user's."
        return failed(ErrorCode.CONFLICT, text)
    facts = facts.following(left)
    return facts if left.terms in (None, _digest(event)) else facts.warned(OTHER_TERMS)


def _requested_before(view: View) -> bool:
    """Whether this ledger knows a request of that trader: then it is another one that is asked for."""
    return any(order.facts.request_id is not None for order in view.known)


def _review(view: View, facts: PassedFacts) -> Planned:
    event, status = _event(view), facts.request_status
    if status == DENIED:
        text = facts.message or "Tradovate denied the request and gave no reason."
        return Planned(failed(ErrorCode.REJECTED, text), facts)
    if status == APPROVED and (facts.account_id is not None or facts.approved_polls >= POLLS_FOR_ID):
        if facts.account_id is None:
            facts = facts.warned("Tradovate approved the request and gave no account id.")
        return Planned(SUCCEEDED, facts)
    # One for the request, and one for each change; an approval or a denial is in the final outcome.
    pending = facts.reported is None or status not in (facts.reported.status, APPROVED)
    if pending:
        facts = changed(facts, reported=Reported(status))
    if event.files is not None and facts.uploaded < len(SLOTS):
        return Planned(Send(DOCUMENT, pending=pending), facts)
    return Planned(Send(STATUS, at=view.now + poll_after(view, facts), pending=pending), facts)


def poll_after(view: View, facts: PassedFacts) -> timedelta:
    """How long until the next look at the review, jittered, so that requests made together are not polled together."""
    draw = jitter(view, facts.polls)
    age = timedelta(0) if facts.requested_at is None else view.now - facts.requested_at
    if age < SOON or facts.request_status == APPROVED:
        return timedelta(seconds=spread(60.0, 0.5, draw))
    return timedelta(seconds=spread(min(age / 10, LATE).total_seconds(), 0.25, draw))


def _failed(view: View, facts: PassedFacts, operation: str, result: Failure) -> Planned | Facts:
    match operation:
        case "submitPartnerSubaccountDocument":
            text = f"Document {SLOTS[facts.uploaded][0]}: {result.text}"
            return changed(facts, uploaded=facts.uploaded + 1).warned(text)
        case "checkDuplicate" if _requested_before(view):
            # What looks like a duplicate is the request that the ledger knows.
            return changed(facts, cleared=True)
        case "checkDuplicate" if result.code is ErrorCode.IN_DOUBT:
            text = f"A request like this may exist, so it was not sent: {result.text}"
            return Planned(End(Status.IN_DOUBT, ErrorCode.IN_DOUBT, text), facts)
        case "getPartnerSubaccountRequestStatus":
            # The request is made and moves money: that its review cannot be read does not make it fail.
            text = f"The request was made, and its review cannot be read: {result.text}"
            return Planned(End(Status.IN_DOUBT, ErrorCode.IN_DOUBT, text), facts)
        case _:
            return ended_by(result, facts)


def _terms(event: TraderPassed) -> dict[str, Any]:
    """What is asked for, without the trader's personal data."""
    terms = event.application
    return {
        "riskCategoryId": terms.risk_category_id,
        "autoLiqProfileId": terms.auto_liq_profile_id,
        "marginType": terms.margin_type,
        "transferAmount": terms.transfer_amount,
    }


def _digest(event: TraderPassed) -> str:
    return hashlib.sha256(orjson.dumps(_terms(event), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _suspect(view: View) -> Item:
    terms = _event(view).application
    given = {"taxIdentifier": terms.tax_identifier, "nationalId": terms.national_id}
    return {
        "userId": view.facts.user_id,
        "countryCode": terms.country,
        **{name: value for name, value in given.items() if value is not None},
    }


def _request(view: View) -> Item:
    event = _event(view)
    terms, ids = event.application, event.document_ids
    slots = ("pOAFormDocId", "governmentDocId", "addressDocId")
    return {
        "ctaUserId": view.facts.user_id,
        **terms.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"birth_date"}),
        "birthDate": trade_date(terms.birth_date),
        **(dict(zip(slots, ids, strict=True)) if ids else {}),
    }


def _document(view: View) -> Item:
    files = _event(view).files
    assert files is not None
    number = of_type(view.facts, PassedFacts).uploaded
    kind, name = SLOTS[number]
    return {
        "subAccountRequestId": view.facts.request_id,
        "documentType": kind,
        "filename": f"{name}.{_extension(files[number])}",
        "base64data": files[number],
    }


def _extension(data_uri: str) -> str:
    """A file name's end for a data URI's type: `pdf`, `txt`, or the image's own."""
    kind = data_uri.removeprefix("data:").partition(";")[0]
    known = {"application/pdf": "pdf", "text/plain": "txt", "image/jpeg": "jpg", "image/svg+xml": "svg"}
    return known.get(kind) or kind.partition("/")[2][:16]


def _event(view: View) -> TraderPassed:
    return of_type(view.event, TraderPassed)
