"""Login, renewal, and who am I (authentication pages)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.sandbox.fields import check
from worker.sandbox.operation import Call, Operation
from worker.sandbox.responses import Reply, denied, ok, refusal, violations
from worker.sandbox.vendor_texts import message
from worker.sandbox.world import ADMIN_ID, iso

if TYPE_CHECKING:
    from worker.sandbox.sessions import Token

__all__ = ["OPERATIONS"]


def login(call: Call) -> Reply:
    """Open a session. A wrong password is reported as the switch says; the fifth in an hour costs a captcha."""
    body, config = call.body, call.config
    problems = check(
        body,
        {"name": str, "password": str},
        {"appId": str, "appVersion": str, "sec": str, "deviceId": str, "hibpCheck": bool},
    )
    if problems:
        return violations(config, problems)
    right = (
        body["name"] == config.name
        and body["password"] == config.password
        and body.get("appId") == config.app_id
        and body.get("sec") == config.sec
        and _cid_fits(call, body.get("cid"))
    )
    if not right:
        call.sessions.counts["failed_logins"] += 1
        return denied(config) if config.bad_credentials == "401" else refusal(message(config, "bad_credentials"))
    if config.approval_needed:
        return ok(config, userStatus="Active", userId=ADMIN_ID, name=config.name)
    return _token_reply(call, call.sessions.open(config, call.now))


def renew(call: Call) -> Reply:
    """Give the session of the bearer another token; no session more is counted."""
    assert call.token is not None
    return _token_reply(call, call.sessions.renew(call.token, call.config, call.now))


def me(call: Call) -> Reply:
    config = call.config
    return ok(
        config,
        userId=ADMIN_ID,
        name=config.name,
        fullName="Sandbox Admin",
        email=f"{config.name}@sandbox.invalid",
        emailVerified=True,
        isTrial=False,
        organizationName="Sandbox Firm",
        activePlugins=[],
    )


def _cid_fits(call: Call, cid: Any) -> bool:
    form = call.config.cid_type
    if isinstance(cid, bool) or (form == "number" and not isinstance(cid, int)):
        return False
    if form == "string" and not isinstance(cid, str):
        return False
    return str(cid) == str(call.config.cid)


def _token_reply(call: Call, token: Token) -> Reply:
    """Return all that the partner returns (access token page, recorded responses)."""
    days = call.config.password_days
    password = {} if days is None else {"passwordExpirationTime": iso(call.now + days * 86_400)}
    hosts = {} if call.places is None else call.places.api_hosts(call.config, call.arrival)
    return ok(
        call.config,
        accessToken=token.value,
        mdAccessToken=token.value,
        expirationTime=iso(token.expires_at),
        **password,
        userStatus="Active",
        userId=ADMIN_ID,
        name=call.config.name,
        orgName="Sandbox Firm",
        hasLive=True,
        hasSimPlus=False,
        hasFunded=False,
        hasMarketData=True,
        outdatedTaC=False,
        outdatedLiquidationPolicy=False,
        outdatedSentimentPolicy=False,
        requiredNonProCertification=False,
        showKIDs=False,
        **hosts,
    )


OPERATIONS = {
    "/auth/accesstokenrequest": Operation(login, public=True),
    "/auth/renewaccesstoken": Operation(renew),
    "/auth/me": Operation(me, writes=False),
}
