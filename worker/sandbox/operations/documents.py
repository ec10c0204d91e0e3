"""Documents of a subaccount request, before it is made or after (customer application document pages)."""

from __future__ import annotations

import re

from worker.sandbox.fields import Problems, check
from worker.sandbox.operation import Call, Operation
from worker.sandbox.operations.applications import SLOTS
from worker.sandbox.responses import Reply, ok, refusal, violations
from worker.sandbox.vendor_texts import message

__all__ = ["OPERATIONS"]

MAX_CHARACTERS = 8_388_608
"""Most characters of `base64data`; the body's own limit of 5 MB is reached before."""

PROCESSES = ("AML_FPV", "Bankruptcy", "Compliance", "Identity", "NFA", "SubAccountRequest", "Watchlist")
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,[A-Za-z0-9+/=\s]+")


def submit_for_request(call: Call) -> Reply:
    """Fill one of the three slots of a request; each slot is filled once."""
    problems = check(
        call.body, {"subAccountRequestId": int, "documentType": str, "filename": str, "base64data": str}
    ) or _rules(call)
    if problems:
        return violations(call.config, problems)
    request = call.world.requests.get(call.body["subAccountRequestId"])
    if request is None:
        return refusal(message(call.config, "request_unknown"))
    if request["status"] in ("Approved", "Denied"):
        return refusal(message(call.config, "request_closed"))
    kind = call.body["documentType"]
    if kind in request["slots"]:
        return refusal(message(call.config, "slot_taken"))
    document = call.world.documents.add({"userId": request["ctaUserId"], "documentType": kind})
    request["slots"][kind] = document["id"]
    call.effects.documents[f"{request['id']}:{kind}"] += 1
    return ok(call.config, documentId=document["id"])


def submit_beforehand(call: Call) -> Reply:
    """Keep a document of a user, to be named by its id in a request."""
    problems = check(
        call.body,
        {"process": str, "documentType": str, "filename": str, "base64data": str},
        {"userId": int, "personType": str, "customerApplicationId": int},
    ) or _rules(call)
    if problems:
        return violations(call.config, problems)
    if call.body["process"] not in PROCESSES:
        return violations(call.config, [("process", "Process should be between AML_FPV and Watchlist")])
    user_id = call.body.get("userId")
    if user_id is None or call.world.users.get(user_id) is None:
        return refusal(message(call.config, "unknown_user"), ok=False)
    kind = call.body["documentType"]
    document = call.world.documents.add({"userId": user_id, "documentType": kind})
    call.effects.documents[f"user:{user_id}:{kind}"] += 1
    return ok(call.config, ok=True, documentId=document["id"])


def _rules(call: Call) -> Problems:
    body = call.body
    problems: Problems = []
    if body["documentType"] not in SLOTS.values():
        problems.append(("documentType", "Document Type should be specified"))
    if not 5 <= len(body["filename"]) <= 64:
        problems.append(("filename", "Filename should be no longer than 64"))
    if len(body["base64data"]) > MAX_CHARACTERS:
        problems.append(("base64data", f"Base64data should be no longer than {MAX_CHARACTERS}"))
        return problems
    found = _DATA_URI.fullmatch(body["base64data"])
    if not found:
        problems.append(("base64data", message(call.config, "document_uri")))
    elif found[1] not in ("application/pdf", "text/plain") and not found[1].startswith("image/"):
        problems.append(("base64data", message(call.config, "document_mime")))
    return problems


OPERATIONS = {
    "/customerapplication/submitpartnersubaccountdocument": Operation(submit_for_request, domain="live"),
    "/customerapplication/submitcustomerapplicationdocument": Operation(submit_beforehand, domain="live"),
}
