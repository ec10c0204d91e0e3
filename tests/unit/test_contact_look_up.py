"""Whether an update of contact data took effect: what was sent must be there, all of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.reader import FakeReader, look
from worker.partner.operations import OPERATIONS
from worker.results import NotExecuted, Result, Succeeded

UPDATE = OPERATIONS["updateContactInfo"]

SENT: dict[str, Any] = {
    "userId": 5, "firstName": "Jane", "lastName": "Doe", "streetAddress1": "1 Main St", "streetAddress2": "Apt 9",
    "city": "Austin", "state": "TX", "postCode": "78701", "country": "US", "phone": "+15125550100",
    "mailingIsDifferent": True, "mailingStreetAddress1": "2 High St", "mailingStreetAddress2": "Floor 3",
    "mailingCity": "Dallas", "mailingState": "TX", "mailingPostCode": "75201", "mailingCountry": "US",
    "jointFirstName": "John", "jointLastName": "Doe",
}  # fmt: skip
FIELDS = sorted(set(SENT) - {"userId"})


async def found(row: dict[str, Any], sent: dict[str, Any] = SENT) -> Result:
    """What the look-up says of it when the user's contact data are `row`."""
    result: Result
    (result,) = await look(UPDATE, FakeReader({"/contactInfo/deps": [{"id": 3, **row}]}), sent)
    return result


async def test_what_is_there_as_it_was_sent_is_done() -> None:
    """Whatever else the row has, and whatever its signs, spaces and capitals."""
    assert await found(SENT) == Succeeded()
    assert await found({**SENT, "phone": "+1 (512) 555-0100", "city": "AUSTIN", "approvedId": 7}) == Succeeded()
    without = {name: SENT[name] for name in SENT if not name.startswith(("joint", "mailing"))}
    assert await found(SENT, without) == Succeeded()
    assert await found(without, {**without, "mailingIsDifferent": False, "mailingCity": ""}) == Succeeded()


@pytest.mark.parametrize("name", FIELDS)
async def test_a_lost_update_of_any_field_is_sent_again(name: str) -> None:
    """A field that is as it was before, or not there at all, was not proven to be updated."""
    former = False if name == "mailingIsDifferent" else "CA"
    assert await found({**SENT, name: former}) == NotExecuted()
    assert await found({key: value for key, value in SENT.items() if key != name}) == NotExecuted()
