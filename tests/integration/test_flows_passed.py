"""`trader.passed` from Kafka to the partner and back: one request, never two, and its review to the end."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.firm import Firm, application
from tests.support.oracle import never_together, private
from tests.support.spine import Stages
from tests.support.waiting import eventually

REQUEST = "/customerApplication/createPartnerSubaccountRequest"
CHECK = "/customerApplication/checkDuplicate"
DOCUMENT = "/customerApplication/submitPartnerSubaccountDocument"
STATUS = "/customerApplication/getPartnerSubaccountRequestStatus"

FILE = "data:application/pdf;base64," + base64.b64encode(b"%PDF a document of the tests").decode()


async def poll(firm: Firm) -> None:
    """The time for the next look at every review comes now."""
    await firm.stage.rows("update step set due = now() where operation = 'getPartnerSubaccountRequestStatus'"
                          " and state = 'due'")  # fmt: skip


async def made(firm: Firm, event: str) -> dict[str, Any]:
    """Waits until the request is made, and is to be polled."""
    outcome = await firm.outcome_with(event, "pending")
    await eventually(lambda: firm.stage.steps("operation = 'getPartnerSubaccountRequestStatus' and state = 'due'"))
    return outcome


async def reviewed(firm: Firm, event: str, request: int, status: str, **more: Any) -> dict[str, Any]:
    """Compliance decides, and the outcome says so."""
    firm.review(request, status, **more)
    await poll(firm)
    final = {"Approved": "succeeded", "Denied": "failed"}.get(status, "pending")
    return await firm.outcome_with(event, final, requestStatus=status)


async def test_an_approved_request_brings_its_account(stage: Stages) -> None:
    """Pending when it is made and at each change, succeeded with the account in the end; asked for once."""
    firm = Firm(await stage())
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    event = await firm.send("trader.passed", traderId="t", userId=user, orderId="F-1", application=application())
    request = (await made(firm, event))["requestId"]
    await reviewed(firm, event, request, "InReview")
    await eventually(lambda: firm.stage.steps("operation = 'getPartnerSubaccountRequestStatus' and state = 'due'"))
    await poll(firm)  # nothing has changed: nothing is published
    await eventually(lambda: firm.stage.count(STATUS) >= 2)
    await eventually(lambda: firm.stage.steps("operation = 'getPartnerSubaccountRequestStatus' and state = 'due'"))
    outcome = await reviewed(firm, event, request, "Approved", accountId=4242)
    assert (outcome["accountId"], outcome["requestId"], outcome["orderId"]) == (4242, request, "F-1")
    assert firm.statuses(event) == [("pending", "Preapproved"), ("pending", "InReview"), ("succeeded", "Approved")]
    assert firm.stage.effects["subaccount_requests"] == {str(user): 1}
    never_together(firm.stage)


async def test_a_denied_request_says_why_without_personal_values(stage: Stages) -> None:
    """The partner's message comes through, with names masked, there and in the ledger."""
    firm = Firm(await stage())
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    event = await firm.send("trader.passed", userId=user, application=application())
    request = (await made(firm, event))["requestId"]
    text = "Graduata Subaccounty is not who they say"
    outcome = await reviewed(firm, event, request, "Denied", message=text)
    assert (outcome["errorCode"], outcome["errorText"]) == ("rejected", "*** *** is not who they say")
    for table in ("flow", "step", "outcome", "business_order"):
        for row in await firm.stage.rows(f"select t::text as line from {table} t"):  # noqa: S608 - names of ours
            assert "Subaccounty" not in row["line"]
            assert application()["taxIdentifier"] not in row["line"]
    await private(firm.stage, ledger=False)


async def test_files_are_uploaded_once_each(stage: Stages) -> None:
    """Three slots, three calls; one whose answer was lost is found filled and counts as done."""
    firm = Firm(await stage())
    firm.stage.fault("cut_after", DOCUMENT, nth=2)
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    event = await firm.send("trader.passed", userId=user, application=application(), documents=[FILE] * 3)
    request = (await made(firm, event))["requestId"]
    kinds = ("AddressVerificationFAFTA", "Id", "POAForm")
    assert firm.stage.effects["documents"] == {f"{request}:{kind}": 1 for kind in kinds}
    assert firm.stage.count(DOCUMENT) == 4
    outcome = await reviewed(firm, event, request, "Approved")
    assert outcome["warnings"] == []


async def test_a_refused_document_is_a_warning(stage: Stages) -> None:
    """The request goes on without it, and the outcome names the document that is missing and why."""
    firm = Firm(await stage())
    firm.stage.fault("error_text", DOCUMENT, contains='"Id"', body="Unreadable scan")
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    event = await firm.send("trader.passed", userId=user, application=application(), documents=[FILE] * 3)
    request = (await made(firm, event))["requestId"]
    outcome = await reviewed(firm, event, request, "Approved")
    assert outcome["warnings"] == ["Document Id: Unreadable scan"]


async def test_document_ids_go_with_the_request(stage: Stages) -> None:
    """Documents that were uploaded beforehand are named in the request, and nothing is uploaded."""
    firm = Firm(await stage())
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    documents = firm.stage.partner.sandbox.core.world.documents
    kinds = ("POAForm", "Id", "AddressVerificationFAFTA")
    ids = [documents.add({"userId": user, "documentType": kind})["id"] for kind in kinds]
    event = await firm.send("trader.passed", userId=user, application=application(), documents=ids)
    request = (await made(firm, event))["requestId"]
    slots = firm.stage.partner.sandbox.core.world.requests.rows[request]["slots"]
    assert [slots[kind] for kind in kinds] == ids
    assert firm.stage.count(DOCUMENT) == 0


UNCLEAR: Sequence[Mapping[str, Any]] = [
    {"action": "cut_after"},
    {"action": "cut_before"},
    {"action": "status_after"},
    {"action": "status_after", "status": 200, "body": '{"errorText": "Documents are outstanding", "requestId": 5}'},
    {"action": "error_text", "body": "Request Timeout"},
]


@pytest.mark.parametrize("fault", UNCLEAR, ids=lambda fault: fault.get("body", fault["action"]))
async def test_an_unclear_request_is_never_sent_again(stage: Stages, fault: Mapping[str, Any]) -> None:
    """It may have moved money: the outcome is in doubt, the flow parked, and one request at most is there."""
    firm = Firm(await stage())
    firm.stage.fault(operation=REQUEST, **fault)
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    outcome = await firm.outcome("trader.passed", userId=user, orderId="F-1", application=application())
    assert (outcome["status"], outcome["errorCode"]) == ("in_doubt", "in_doubt")
    (step,) = await firm.stage.steps("state = 'parked'")
    assert step["operation"] == "createPartnerSubaccountRequest"
    again = await firm.outcome("trader.passed", userId=user, orderId="F-1", application=application())
    assert again["status"] == "in_doubt"
    assert firm.stage.count(REQUEST) == 1


async def test_a_refused_request_is_rejected(stage: Stages) -> None:
    """A definite refusal is reported in the partner's words, and the order may be placed again."""
    firm = Firm(await stage())
    firm.stage.fault("error_text", REQUEST, body="Insufficient funds", times=1)
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    asked: dict[str, Any] = {"userId": user, "orderId": "F-1", "application": application()}
    outcome = await firm.outcome("trader.passed", **asked)
    assert (outcome["errorCode"], outcome["errorText"]) == ("rejected", "Insufficient funds")
    await made(firm, await firm.send("trader.passed", **asked))


async def test_a_possible_duplicate_is_not_sent(stage: Stages) -> None:
    """A request that this ledger does not know may exist: in doubt, unsent, for an operator to judge."""
    firm = Firm(await stage())
    ((user, _, _),) = firm.seed()
    firm.stage.fault("error_text", CHECK, body="Possible duplicate")
    await firm.stage.replica()
    outcome = await firm.outcome("trader.passed", userId=user, application=application())
    assert outcome["status"] == "in_doubt"
    assert "Possible duplicate" in outcome["errorText"]
    assert [step["operation"] for step in await firm.stage.steps("state = 'parked'")] == ["checkDuplicate"]
    assert firm.stage.count(REQUEST) == 0


async def test_a_second_order_of_a_known_trader_needs_no_check(stage: Stages) -> None:
    """The ledger knows the first request, so that the second is another one that is meant."""
    firm = Firm(await stage())
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    await made(firm, await firm.send("trader.passed", userId=user, orderId="F-1", application=application()))
    await firm.outcome_with(await firm.send("trader.passed", userId=user, application=application()), "pending")
    await firm.outcome_with(await firm.send("trader.passed", userId=user, application=application()), "pending")
    assert firm.stage.count(CHECK) == 1
    assert firm.stage.effects["subaccount_requests"] == {str(user): 3}


async def test_the_same_order_again_copies_its_end(stage: Stages) -> None:
    """Another event of an order under way waits and gets the same ids; other terms are a conflict."""
    firm = Firm(await stage())
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    asked: dict[str, Any] = {"userId": user, "orderId": "F-1", "application": application()}
    event = await firm.send("trader.passed", **asked)
    request = (await made(firm, event))["requestId"]
    repeat = await firm.send("trader.passed", **asked)
    other = await firm.outcome("trader.passed", **{**asked, "application": application(transferAmount=9.0)})
    assert other["errorCode"] == "conflict"
    await reviewed(firm, event, request, "Approved", accountId=4242)
    copied = await firm.ended(repeat)
    assert (copied["status"], copied["requestId"], copied["accountId"]) == ("succeeded", request, 4242)
    assert firm.stage.count(REQUEST) == 1


@pytest.mark.parametrize("field", ["country", "citizenship"])
async def test_a_restricted_country_never_reaches_the_partner(stage: Stages, field: str) -> None:
    """Neither as a residence nor as a citizenship."""
    firm = Firm(await stage())
    await firm.stage.replica()
    asked = {**application(nationalId="AB12"), field: "IR"}
    outcome = await firm.outcome("trader.passed", userId=5, application=asked)
    assert outcome["errorCode"] == "restricted_country"
    assert [call for call in firm.stage.calls() if "/auth/" not in call["path"]] == []


async def test_an_unknown_trader_is_not_found(stage: Stages) -> None:
    """Waited for, and then reported."""
    firm = Firm(await stage(UNKNOWN_WAIT_SECONDS="1"))
    await firm.stage.replica()
    outcome = await firm.outcome("trader.passed", traderId="nobody", application=application())
    assert outcome["errorCode"] == "not_found"


async def test_penalties_on_documents_are_waited_out(stage: Stages) -> None:
    """Whichever of the vendor's two limits is true: the ticket says how long, and all three get there."""
    firm = Firm(await stage())
    firm.switch(endpoint_limits={DOCUMENT.lower(): 1}, ticket_seconds=1)
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    event = await firm.send("trader.passed", userId=user, application=application(), documents=[FILE] * 3)
    request = (await made(firm, event))["requestId"]
    assert len(firm.stage.partner.sandbox.core.world.requests.rows[request]["slots"]) == 3
    assert firm.stage.state["tickets"]["redeemed"] == 2
    assert firm.stage.state["tickets"]["early"] == 0


async def test_reviews_are_polled_within_a_tenth_of_the_budget(stage: Stages) -> None:
    """However many reviews are due, no more than a tenth of the hour's calls asks for them."""
    firm = Firm(await stage(TRADOVATE_HOURLY_BUDGET="60"))
    await firm.stage.replica()
    rows = firm.seed(10)
    events = [await firm.send("trader.passed", userId=row[0], application=application(n)) for n, row in enumerate(rows)]
    for event in events:
        await made(firm, event)
    await poll(firm)
    await eventually(lambda: firm.stage.count(STATUS) >= 6)
    (user, account, permission) = rows[0]
    await firm.outcome("account.assigned", accountId=account, userId=user)
    assert firm.stage.count(STATUS) == 6
    assert permission
