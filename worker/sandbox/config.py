"""What the simulated partner is like: credentials, limits, and one switch for each thing the vendor leaves open.

A switch is a field whose docstring says which unknown, or which disagreement between the vendor's own pages, it stands
for. Its default is the likeliest reading. All switches can be changed while the sandbox runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Nothing", "Refusal", "SandboxConfig", "SignalForm"]

Refusal = Literal["item", "error_text", "violations", "http_400"]
"""How one bad item is reported: beside its own result, or as a refusal of the whole batch in one of three forms."""

Nothing = Literal["404", "null", "object", "empty", "list"]
"""What `find` answers when nothing has that name: 404 without a body, or 200 with `null`, `{}`, no body, or `[]`."""


SignalForm = Literal["right", "bad_id", "no_user", "null_entity", "unknown_wrapper", "unknown_type", "cut_frame"]
"""How a signal is written on a socket; in all forms but `right` it cannot be read there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """Everything one can choose about the simulated partner. Times are seconds unless a name says otherwise."""

    # -- who may call -----------------------------------------------------------------------------------------------
    name: str = "sandbox-admin"
    """Login name of the organization's API user."""
    password: str = "sandbox-password"  # noqa: S105 - the sandbox's own, known to everyone
    """Password of the API user."""
    app_id: str = "sandbox-worker"
    """Name of the API key."""
    app_version: str = "1.0"
    """Version that the settings of the sandbox hand to the worker; not checked, as at the partner."""
    cid: int = 1234
    """Number of the API key."""
    sec: str = "sandbox-sec"
    """Secret of the API key."""
    device_id: str = "sandbox-device"
    """Device that the settings hand to the worker; not checked, as for a user who does not trade."""
    cid_type: Literal["either", "string", "number"] = "either"
    """Unknown: the schema says that `cid` is a string, every example sends a number."""

    # -- sessions and tokens ----------------------------------------------------------------------------------------
    token_seconds: float = 4800
    """Unknown: a token lives 80 minutes on the newest pages, 90 (5400) on the older ones."""
    max_sessions: int = 2
    """Sessions a user may have; one login more closes the oldest (authentication page)."""
    closed_session_status: Literal[401, 408, 429, 500] = 408
    """Unknown: a closed session's calls fail "with 408, 429 or 500-level errors"; which one is not said."""
    expired_token_status: Literal[400, 401] = 401
    """Unknown: an expired token is 401 on the newer pages, "400 or 401" on the older."""
    denied_body: Literal["text", "empty"] = "text"
    """Unknown: a 401 has the body `Access is denied`, or none."""
    bad_credentials: Literal["401", "error_text"] = "error_text"
    """Unknown: a wrong password is 401 for the conformance tests, HTTP 200 with an errorText in the field."""
    old_token_after_renewal: bool = True
    """Unknown: whether the token that was renewed goes on being valid until its own end."""
    password_days: float | None = 180
    """Days until the API user's password ends (`passwordExpirationTime`); null leaves it out: it has no end."""
    approval_needed: bool = False
    """Unknown: what a login is answered that waits for MFA or a new device; true gives 200 without token and text."""
    api_hosts: Literal["always", "moved", "never"] = "always"
    """Unknown: whether `apiHosts` is always returned: `moved` returns it only after a move, `never` not at all."""
    api_host_values: Mapping[str, str] = field(default_factory=dict)
    """Changes to the values of `apiHosts`, by key: what a login that went wrong may return."""
    wrong_host: Literal["redirect", "404", "405", "421"] = "redirect"
    """Unknown: what a host answers that the organization has left: a 307 with Location, or a status without a body."""
    login_anywhere: bool = False
    """Unknown: whether a host that the organization has left still takes logins and renewals (everyone's first login
    goes to the shared host, observed), and returns where it is now."""
    failed_logins_an_hour: int = 5
    """Wrong passwords in a rolling hour before a captcha penalty (rate limits page)."""

    # -- limits -----------------------------------------------------------------------------------------------------
    hourly_calls: int = 5000
    """Calls of one user in a rolling window, all endpoints and both domains together, before a lock-out."""
    hour_seconds: float = 3600
    """Length of every rolling window; a test makes it seconds."""
    warning_from_call: int = 4950
    """Unknown: from which call of the window on 423 warns of the lock-out that is near; 0 never warns."""
    lockout_seconds: float = 3600
    """Length of a lock-out; every request during it starts it again (error handling page)."""
    endpoint_limits: Mapping[str, int] = field(default_factory=dict)
    """Changes to the endpoint-level limits, by path in lower case: calls in a window; 0 means no limit."""
    endpoint_limits_on: bool = True
    """Whether endpoints have limits of their own at all."""
    ticket_seconds: int | None = None
    """`p-time` of every penalty ticket; None takes the endpoint's own back-off."""
    captcha_seconds: float = 3600
    """How long an endpoint rests after a ticket with a captcha, which no server can solve."""
    ticket_match: Literal["bytes", "json"] = "bytes"
    """Unknown: "the identical body" to the byte, or with the same meaning."""

    # -- answers ----------------------------------------------------------------------------------------------------
    partner_ms: float = 0
    """Milliseconds that every call takes before its effect."""
    success_error_text: Literal["absent", "null", "empty"] = "absent"
    """Unknown: errorText of a success is left out, null, or an empty string; the vendor's examples differ."""
    violation_constraint: Literal["code", "field"] = "field"
    """Unknown: `constraint` of a violation is `required_field_missing` on the older page, the field on the newer."""
    wrong_domain: Literal["error_text", "404", "401"] = "error_text"
    """Unknown: a call on the other domain is refused in an errorText, or is 404, or 401."""
    find_nothing: Nothing = "404"
    """Unknown: what `find` answers when nothing has that name."""
    finds_supported: bool = True
    """Unknown: whether `user/finds?names=` and `account/finds?names=` exist; the newest index has them."""
    finds_repeats: bool = False
    """Unknown: whether several names are `names=A&names=B`, or `names=A,B` as ids are; the other form finds nothing."""
    finds_nothing: Literal["list", "404", "null", "object"] = "list"
    """Unknown: what `finds` answers when nothing has any of the names."""
    finds_max_names: int = 0
    """Unknown: names above which `finds` answers 404; 0 means no limit."""
    finds_reversed: bool = False
    """The order of `finds` is not promised: true gives them backwards."""
    items_max_ids: int = 0
    """Unknown: ids above which `items` answers 404 (about ten were once measured); 0 means no limit."""
    items_reversed: bool = False
    """The order of `items` is not promised: true gives them backwards."""
    ldeps_supported: bool = True
    """Unknown: whether `ldeps` exists for each entity; its pages give no example but one with a single master."""
    ldeps_max_ids: int = 0
    """Unknown: masters above which `ldeps` answers 404, as was once measured of `items`; 0 means no limit."""
    bulk_max_rows: int = 0
    """Unknown: rows with which `finds`, `items` and `ldeps` end; what more there is is left out. 0 means no limit."""
    deps_unknown_master: Literal["empty", "404"] = "empty"
    """Unknown: what `deps` answers for a master that does not exist."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Unknown: the wording of most refusals. Code -> text, in place of the sandbox's own."""

    # -- batches ----------------------------------------------------------------------------------------------------
    batch_limit: int = 100
    """Items in one call that makes users or accounts."""
    batch_atomic: bool = True
    """Unknown: a batch refused as a whole has made nothing (true), or what stood before the bad item (false)."""
    malformed_item: Refusal = "violations"
    """Unknown: how an item is refused that breaks a stated rule (missing field, bad account name, long names)."""
    refused_item: Refusal = "item"
    """Unknown: how an item is refused that is well-formed (name taken, template unknown, plan of another firm)."""

    # -- users ------------------------------------------------------------------------------------------------------
    emails_unique: bool = True
    """Unknown: whether one e-mail may own several users of one organization."""
    user_names_fold_case: bool = True
    """Unknown: whether user names that differ in case only are the same."""
    users_reach_demo_after: float = 0
    """Unknown: seconds until a user made on LIVE is known on DEMO."""
    plan_name: str = "SANDBOX_MONTHLY"
    """Name of the membership plan of the firm."""
    contact_needs_state_in_us: bool = True
    """`state` is required for US addresses (contact info page)."""

    # -- accounts and permissions -----------------------------------------------------------------------------------
    account_names_unique: bool = True
    """Unknown: whether two accounts may have one name."""
    permission_with_account: bool = True
    """Unknown: whether the permission always comes with the account, or the account can be left without one."""
    permission_status: Literal["Accepted", "Approved", "Requested"] = "Approved"
    """Unknown: the first status of a permission made for a trader; live rows say `Approved`."""
    same_permission_again: Literal["error_text", "existing", "second"] = "error_text"
    """Unknown: what `createTradingPermission` answers when the pair has a live permission."""
    same_request_again: Literal["error_text", "existing"] = "error_text"
    """Unknown: what `requestTradingPermission` answers when one is already requested or accepted."""
    revoked_again: Literal["ok", "error_text"] = "ok"
    """Unknown: what revoking a revoked permission answers."""
    foreign_revoke: Literal["error_text", "404", "401", "ignored"] = "error_text"
    """Unknown: what revoking an unknown or another firm's permission answers."""
    revoke_atomic: bool = True
    """Unknown: whether a revocation refused for one id leaves all the others as they were."""
    revoke_max_ids: int = 0
    """Unknown: most ids in one revocation; 0 means no limit."""
    omitted_flags_cancel: bool = True
    """Unknown: whether a flag left out of `cancelEverything` means true."""
    cancelled_in_deps: Literal["marked", "gone"] = "marked"
    """Unknown: whether what was cancelled is still read, with its end marked, or is gone."""
    market_data_former_months: int = 1
    """Market data is a row a month, and those of former months were seen with `expired: false`: how many a user has."""
    resets_need_permission: bool = True
    """A reset needs an active permission on the account (account actions page)."""

    # -- risk -------------------------------------------------------------------------------------------------------
    risks_permission: Literal["FullAccess", "Read", "Denied"] = "FullAccess"
    """What the API key may do in the permission class Risks; what it may not is 401 (observed)."""
    risk_rows: Literal["always", "when_set"] = "always"
    """Unknown: whether an account has its two risk rows from the start, or once something was set or has happened."""
    risk_update: Literal["merge", "replace"] = "merge"
    """Unknown: whether limits that a change leaves out stay as they are, or are gone."""
    auto_liqs_max_items: int = 0
    """Unknown: most items in one `updateUserAutoLiqs`; one more refuses all of them; 0 means no limit."""
    auto_liqs_answer: Literal["rows", "reversed", "bare"] = "rows"
    """Unknown: whether results have their items' order and their rows, of which the schema requires neither."""
    unknown_auto_liq: Literal["error_text", "404", "401"] = "error_text"
    """Unknown: how `updateUserAutoLiqs` refuses an account that the organization does not have; nothing is changed."""
    admin_action_answer: Literal["row", "bare"] = "row"
    """Unknown: whether an administrator's action brings the account's status as its answer, an optional part."""
    liquidate_shown: Literal["LiquidateImmediately", "LockTradingImmediately", "AgreedOnLiquidationByAutoLiq"] = (
        "LiquidateImmediately"
    )
    """Unknown: which adminAction is read of an account that was liquidated: what was set, or what came of it."""
    close_only_shown: Literal["LiquidateOnlyModeImmediately", "AgreedOnLiqOnlyModeByAutoLiq"] = (
        "LiquidateOnlyModeImmediately"
    )
    """Unknown: which adminAction is read of an account that may only close positions."""
    risk_shown_after: float = 0
    """Unknown: seconds until a read shows a change of limits or an administrator's action."""
    risk_sync_denied: Literal["401", "absent"] = "401"
    """Unknown: how a sync request for risk statuses is answered without the permission: 401, or without the family."""
    risk_entity: Literal["object", "list", "wrapped"] = "object"
    """Unknown: `entity` of an event of risk statuses is "one or many"; wrapped as the alert signals are, it may be."""
    risk_empty: Literal["absent", "null"] = "absent"
    """Unknown: whether a socket leaves a status's empty fields out, or sends null."""
    risk_created_events: bool = True
    """Unknown: whether a new account's status is announced to the sockets, or first sent when it changes."""

    # -- entitlements -----------------------------------------------------------------------------------------------
    t_prop_entitlement_id: int = 31
    """Unknown: the number of the T-Prop entitlement."""
    entitlement_needs_contact: bool = True
    """Unknown: whether an entitlement is refused while contact data are missing."""
    entitlement_again: Literal["text", "code", "both", "second"] = "both"
    """Unknown: how an entitlement that the user has is refused (errorText, errorCode, both), or is added twice."""
    success_error_code: bool = True
    """Unknown: whether a success says errorCode `Success`."""

    # -- subaccounts ------------------------------------------------------------------------------------------------
    review_step_seconds: float = 0
    """Seconds between the steps of a review that goes by itself; 0 leaves every step to the control API."""
    subaccounts_per_user: int = 5
    """Most subaccounts of one user (demo-to-live page)."""
    document_endpoint_limit: Literal[10, 750] = 750
    """Unknown: `submitPartnerSubaccountDocument` is limited to 750 calls an hour on one page, 10 on another."""

    # -- alert signals and sockets ----------------------------------------------------------------------------------
    mda_alert_id: int = 70
    """Admin alert of the Market Data Agreement: 70 in staging, 68 in production."""
    signal_sockets: Literal["live", "demo", "both", "none"] = "both"
    """Unknown: which domain's socket carries a signature."""
    signals_rest: Literal["live", "demo", "both"] = "live"
    """Unknown: which domain answers `adminAlertSignal/deps` with signals."""
    signal_shape: Literal["wrapped", "flat", "by_domain"] = "by_domain"
    """Unknown: `OtherEnvAdminAlertSignal` with a wrapped entity, or a plain signal; by_domain wraps on DEMO."""
    signal_archived_field: bool = True
    """Unknown: whether a signal on a socket has the field `archived`."""
    props_shape: Literal["array", "object", "alternate"] = "alternate"
    """Unknown: `d` of a `props` event is an array in one document, an object in another."""
    signal_entity: Literal["object", "list"] = "object"
    """Unknown: `entity` of an event is "one or many"; a list holds all signals that are raised in one moment."""
    signal_form: SignalForm = "right"
    """How signals come on sockets: readable, or in a form that nobody knows, while a read of them is right."""
    stray_alerts: int = 0
    """Alerts in unknown forms that come with each signature: in the same list, or before it."""
    unreadable_rows: int = 0
    """Rows in unknown forms that a read of signals returns beside the right ones."""
    signal_delay: float = 0
    """Seconds between a signature and its event."""
    signal_repeats: int = 0
    """How many times more the same event comes."""
    signal_updates: bool = False
    """Unknown: whether an `Updated` event of the same signal follows."""
    noise_alerts: int = 0
    """Other alerts that come before each signature."""
    socket_drop_probability: float = 0
    """Chance that a socket is cut at a signature instead of hearing of it."""
    socket_silent: bool = False
    """Sockets stay open and send nothing at all."""
    heartbeat_seconds: float = 2.5
    """Unknown: the server's `h` comes every 2.5 s, or every 25."""
    idle_seconds: float = 15
    """Unknown: silence of the client, without `[]`, after which its socket is closed; about 15 s were observed."""
    close_after_401: bool = False
    """Unknown: whether the socket is closed after a token was refused."""
    sync_messages: int = 3
    """Unknown: how many messages a split answer has."""
    sync_shuffled: bool = False
    """Unknown: whether the messages of a split answer keep the order of the schema."""
    sync_with_events: bool = True
    """Unknown: whether `props` events come between the messages of a split answer."""
    sync_without_split: Literal["close", "answer"] = "close"
    """An organization that leaves out `splitResponses` is cut off without a message (older vendor pages)."""
    second_sync: Literal["error", "close"] = "error"
    """Unknown: what a second `syncrequest` on one connection is answered with."""
    signals_need_sync: bool = True
    """Unknown: whether a socket hears of signatures before its `syncrequest`."""
    max_sockets: int = 50
    """Sockets of one user; one more closes the oldest and revokes its token (connection page)."""
