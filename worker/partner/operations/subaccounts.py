"""The subaccount request (LIVE): the duplicate check, the request itself, its documents, its review.

The request moves money, and nothing lists requests: after an unclear answer it is never sent again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.outcomes import ErrorCode
from worker.partner.operation import Entity, Item, Limits, Operation, Recovery, Resend, Response, plain
from worker.partner.operations._shared import OK, Rank, nothing, user
from worker.partner.single_reads import is_id
from worker.replies import Domain
from worker.results import Rejected, Result, Succeeded, Unknown

_ROOM = "/customerApplication/"


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return plain(items[0])


def _checked(body: Mapping[str, Any], _items: Sequence[Item]) -> Sequence[Result]:
    # Here `ok: false` is documented as a possible duplicate, with an errorText or without.
    return [Succeeded() if body["ok"] else Rejected("Tradovate's duplicate check found a possible duplicate.")]


def _only_an_operator_knows(text: str) -> Rejected:
    """A possible duplicate."""
    return Rejected(text, ErrorCode.IN_DOUBT)


CHECK_DUPLICATE = Operation(
    name="checkDuplicate",
    domain=Domain.LIVE,
    path=f"{_ROOM}checkduplicate",
    request=_request,
    response=Response(OK, _checked, lambda _result: "no duplicate"),
    recovery=Recovery(
        resend=Resend.ALWAYS,  # it only asks
        needs=user,
        rejection=_only_an_operator_knows,
        retry_from=30.0,  # and no more often after a failed call: polls are 30 to 60 s apart
    ),
    limits=Limits(
        rank=Rank.SUBACCOUNT,
        maintenance=True,  # what it clears has to wait too
    ),
)


def _made(body: Mapping[str, Any], _items: Sequence[Item]) -> Sequence[Result]:
    request_id, status = body["requestId"], body.get("status")
    if not is_id(request_id):
        return [Unknown("neither a request id nor an error")]
    return [
        Succeeded({"requestId": request_id, "requestStatus": status if isinstance(status, str) and status else None})
    ]


def _needs(item: Item) -> Sequence[Entity]:
    return (Entity(Domain.LIVE, "user", item["ctaUserId"], "user"),)


CREATE_REQUEST = Operation(
    name="createPartnerSubaccountRequest",
    domain=Domain.LIVE,
    path=f"{_ROOM}createpartnersubaccountrequest",
    request=_request,
    response=Response({"requestId": int}, _made),
    recovery=Recovery(
        resend=Resend.NEVER,  # moves money, and cannot be looked up
        needs=_needs,
    ),
    limits=Limits(
        rank=Rank.SUBACCOUNT,
        maintenance=True,
        per_hour=250,  # vendor, create partner subaccount request
    ),
)


def _uploaded(body: Mapping[str, Any], _items: Sequence[Item]) -> Sequence[Result]:
    return [Succeeded() if is_id(body["documentId"]) else Unknown("neither a document id nor an error")]


def _slot_filled(text: str) -> Result:
    """A slot can be filled once: a second upload is rejected with a text that says that the first one worked."""
    lowered = text.lower()
    filled = "already" in lowered and any(word in lowered for word in ("slot", "upload", "completed"))
    return Succeeded() if filled else Rejected(text)


SUBMIT_DOCUMENT = Operation(
    name="submitPartnerSubaccountDocument",
    domain=Domain.LIVE,
    path=f"{_ROOM}submitpartnersubaccountdocument",
    request=_request,
    response=Response({"documentId": int}, _uploaded),
    recovery=Recovery(
        resend=Resend.ALWAYS,  # a filled slot says so, and that counts as done
        needs=nothing,
        rejection=_slot_filled,
    ),
    # 750 an hour on one of the vendor's pages, 10 on another: the penalty ticket of the limit that is true counts.
    limits=Limits(rank=Rank.SUBACCOUNT, maintenance=False),
)


def _statuses(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
    status, message, account_id = body["status"], body.get("message"), body.get("accountId")
    if not status or body.get("requestId") not in (None, items[0]["subAccountRequestId"]):
        return [Unknown("no status of the request that was asked about")]
    return [
        Succeeded(
            {
                "requestStatus": status,
                **({"message": message} if isinstance(message, str) and message else {}),
                **({"accountId": account_id} if is_id(account_id) else {}),
            }
        )
    ]


REQUEST_STATUS = Operation(
    name="getPartnerSubaccountRequestStatus",
    domain=Domain.LIVE,
    path=f"{_ROOM}getpartnersubaccountrequeststatus",
    request=_request,
    response=Response(
        {"status": str}, _statuses, lambda result: f"the request is {result.get('requestStatus', 'without a status')}"
    ),
    recovery=Recovery(
        resend=Resend.ALWAYS,  # it only asks
        needs=nothing,
        retry_from=30.0,  # and no more often after a failed call: polls are 30 to 60 s apart
    ),
    limits=Limits(
        rank=Rank.POLL,
        maintenance=False,
        share=0.1,  # README, "What happens when": never more than a tenth of the budget
    ),
)
