"""The subaccount request (LIVE): the duplicate check, the request itself, its documents, its review.

The request moves money, and nothing lists requests: after an unclear answer it is never sent again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.partner.operation import Entity, Item, Operation, Resend, plain
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


CHECK_DUPLICATE = Operation(
    name="checkDuplicate",
    domain=Domain.LIVE,
    path=f"{_ROOM}checkduplicate",
    rank=Rank.SUBACCOUNT,
    most=1,
    resend=Resend.ALWAYS,  # it only asks
    retry_from=30.0,  # and no more often because it was not told: polls are 30 to 60 s apart
    maintenance=True,  # what it clears has to wait too
    lingers=False,
    request=_request,
    promises=OK,
    results=_checked,
    needs=user,
    finds=lambda _result: "no duplicate",
    refusal_is_doubt=True,  # a possible duplicate: only a person can tell
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
    rank=Rank.SUBACCOUNT,
    most=1,
    resend=Resend.NEVER,  # moves money, and cannot be looked up
    maintenance=True,
    lingers=False,
    request=_request,
    promises={"requestId": int},
    results=_made,
    needs=_needs,
    per_hour=250,  # vendor, create partner subaccount request
)


def _uploaded(body: Mapping[str, Any], _items: Sequence[Item]) -> Sequence[Result]:
    return [Succeeded() if is_id(body["documentId"]) else Unknown("neither a document id nor an error")]


def _slot_filled(text: str) -> Succeeded | None:
    """A slot can be filled once, so that a second upload is told that the first one worked."""
    lowered = text.lower()
    told = "already" in lowered and any(word in lowered for word in ("slot", "upload", "completed"))
    return Succeeded() if told else None


SUBMIT_DOCUMENT = Operation(
    name="submitPartnerSubaccountDocument",
    domain=Domain.LIVE,
    path=f"{_ROOM}submitpartnersubaccountdocument",
    rank=Rank.SUBACCOUNT,
    most=1,
    resend=Resend.ALWAYS,  # a filled slot says so, and that counts as done
    maintenance=False,
    lingers=False,
    request=_request,
    promises={"documentId": int},
    results=_uploaded,
    needs=nothing,
    already=_slot_filled,
    # 750 an hour on one of the vendor's pages, 10 on another: the penalty ticket of whichever is true holds it back.
)


def _told(body: Mapping[str, Any], items: Sequence[Item]) -> Sequence[Result]:
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
    rank=Rank.POLL,
    most=1,
    resend=Resend.ALWAYS,  # it only asks
    retry_from=30.0,  # and no more often because it was not told: polls are 30 to 60 s apart
    maintenance=False,
    lingers=False,
    request=_request,
    promises={"status": str},
    results=_told,
    needs=nothing,
    finds=lambda result: f"the request is {result.get('requestStatus', 'without a status')}",
    share=0.1,  # contract 5.8: never more than a tenth of the budget
)
