"""The wording of refusals. What the vendor documents is exact; the rest is ours, and a switch can change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.sandbox.config import SandboxConfig

__all__ = ["TEXTS", "message"]

TEXTS = {
    # Documented, or seen in the field by several clients.
    "bad_credentials": "Incorrect username or password. Please try again, noting that passwords are case-sensitive.",
    "live_account": "Live account is required",
    "wrong_domain_demo": "This endpoint should be called on demo.tradovateapi.com",
    "wrong_domain_live": "This endpoint should be called on live.tradovateapi.com",
    "empty_accounts": "Empty accountIds",
    # The vendor names the case and leaves the wording open.
    "too_many_users": "Only 100 users are allowed in single operation",
    "too_many_accounts": "Only 100 accounts are allowed in single operation",
    "too_many_auto_liqs": "Too many items in single operation",
    "too_many_permissions": "Too many trading permissions in single operation",
    "name_taken": "User with this name already exists",
    "email_taken": "Email is already registered",
    "group_trade": "Entitlement is not allowed",
    "sim_plus_at_sign_up": "Entitlement requires a signed Market Data Agreement",
    "unknown_entitlement": "Entitlement not found",
    "foreign_plan": "Tradovate subscription plan not found",
    "names_too_long": "First Name and Last Name combined should be no longer than 60",
    "account_name": "Name should match ^[A-Z]+[0-9]+$",
    "account_taken": "Account with this name already exists",
    "unknown_user": "User not found",
    "unknown_account": "Account not found",
    "unknown_template": "Template account not found",
    "permission_exists": "Trading permission already exists",
    "unknown_permission": "Trading permission not found",
    "permission_revoked": "Trading permission is already revoked",
    "permission_not_requested": "Trading permission is not requested",
    "no_active_permission": "Account has no active trading permission",
    "contact_required": "Contact info is required",
    "entitlement_exists": "Conflict with existing entitlement",
    "poison": "Unexpected error while processing the item",
    "request_unknown": "Subaccount request not found",
    "request_closed": "Subaccount request is already processed",
    "slot_taken": "This document slot already has a completed upload",
    "document_unknown": "Document not found",
    "documents_partial": "All three documents should be specified",
    "document_uri": "Base64data should be a data URI",
    "document_mime": "Document type is not supported",
    "too_many_subaccounts": "Maximum number of subaccounts is reached",
    "restricted": "Country or state is restricted",
    "possible_duplicate": "Possible duplicate",
    "unknown_profile": "Auto-liq profile not found",
    "unknown_signal": "Admin alert signal not found",
    "unknown_subscription": "Tradovate subscription not found",
}


def message(config: SandboxConfig, code: str) -> str:
    """Return the text of a refusal, by its code."""
    return config.texts.get(code) or TEXTS[code]
