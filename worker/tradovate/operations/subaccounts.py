"""The subaccount request (LIVE): the duplicate check, the request itself, its documents, its review.

The request moves money, and nothing lists requests: after an unclear answer it is never sent again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.replies import Domain, Done, NotHandled, Result, Unknown
from worker.tradovate.operation import Item, Operation, Resend, plain
from worker.tradovate.operations._shared import Rank, is_id

_ROOM = "/customerApplication/"


def _request(items: Sequence[Item]) -> Mapping[str, Any]:
    return plain(items[0])


def _checked(body: Any, _items: Sequence[Item]) -> Sequence[Result]:
    # `ok: false`, a possible duplicate, is a refusal of the whole call.
    said = isinstance(body, Mapping) and body.get("ok") is True
    return [Done() if said else NotHandled("the duplicate check said neither yes nor no")]


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
    results=_checked,
    refusal_is_doubt=True,  # a possible duplicate: only a person can tell
)


def _made(body: Any, _items: Sequence[Item]) -> Sequence[Result]:
    request_id, status = body.get("requestId"), body.get("status")
    if not is_id(request_id):
        return [Unknown("neither a request id nor an error")]
    return [Done({"requestId": request_id, "requestStatus": status if isinstance(status, str) and status else None})]


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
    results=_made,
    per_hour=250,  # vendor, create partner subaccount request
)


def _uploaded(body: Any, _items: Sequence[Item]) -> Sequence[Result]:
    document_id = body.get("documentId")
    return [Done() if is_id(document_id) else Unknown("neither a document id nor an error")]


def _slot_filled(text: str, _code: str | None) -> Done | None:
    """A slot can be filled once, so that a second upload is told that the first one worked."""
    lowered = text.lower()
    told = "already" in lowered and any(word in lowered for word in ("slot", "upload", "completed"))
    return Done() if told else None


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
    results=_uploaded,
    already=_slot_filled,
    # 750 an hour on one of the vendor's pages, 10 on another: the penalty ticket of whichever is true holds it back.
)


def _told(body: Any, _items: Sequence[Item]) -> Sequence[Result]:
    status, message, account_id = body.get("status"), body.get("message"), body.get("accountId")
    if not isinstance(status, str) or not status:
        return [NotHandled("the answer has no status")]
    return [
        Done(
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
    results=_told,
    share=0.1,  # contract 5.8: never more than a tenth of the budget
)
