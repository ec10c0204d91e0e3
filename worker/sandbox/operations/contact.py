"""Contact data of a user (contact info page)."""

from __future__ import annotations

import re

from worker.sandbox.fields import check, combined_names
from worker.sandbox.operation import Call, Operation
from worker.sandbox.responses import Reply, ok, refusal, violations
from worker.sandbox.vendor_texts import message

__all__ = ["OPERATIONS"]

REQUIRED = {
    "userId": int,
    "firstName": str,
    "lastName": str,
    "streetAddress1": str,
    "city": str,
    "country": str,
    "phone": str,
}
OPTIONAL = {
    "streetAddress2": str,
    "state": str,
    "postCode": str,
    "mailingIsDifferent": bool,
    "mailingStreetAddress1": str,
    "mailingStreetAddress2": str,
    "mailingCity": str,
    "mailingState": str,
    "mailingPostCode": str,
    "mailingCountry": str,
    "approvedId": int,
    "jointFirstName": str,
    "jointLastName": str,
}


def update_contact_info(call: Call) -> Reply:
    """Write the contact data of a user, the first time or again; sending the same twice is harmless."""
    body, config, world = call.body, call.config, call.world
    problems = check(body, REQUIRED, OPTIONAL)
    problems += combined_names(body) or combined_names(body, "jointFirstName", "jointLastName")
    country = str(body.get("country") or "")
    if country and not re.fullmatch("[A-Z]{2}", country):
        problems.append(("country", "Country should be a two-letter code"))
    if country == "US" and config.contact_needs_state_in_us and not body.get("state"):
        problems.append(("state", "State should be specified"))
    if body.get("phone") and not re.fullmatch(r"\+?[0-9 ()./-]{5,32}", str(body["phone"])):
        problems.append(("phone", "Phone should be valid"))
    if problems:
        return violations(config, problems)
    user_id = body["userId"]
    if world.users.get(user_id) is None:
        return refusal(message(config, "unknown_user"))
    data = {name: body[name] for name in (*REQUIRED, *OPTIONAL) if body.get(name) is not None}
    present = world.contacts.of(user_id)
    if present:
        contact = present[0]
        contact.update(data)
    else:
        contact = world.contacts.add(data)
    call.effects.contact_updates[str(user_id)] += 1
    return ok(config, contactInfo=contact)


OPERATIONS = {"/contactinfo/updatecontactinfo": Operation(update_contact_info, domain="live")}
