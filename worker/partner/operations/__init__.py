"""Every Tradovate operation that the worker sends, one declaration each."""

from collections.abc import Mapping, Sequence

from worker.partner.operation import Operation
from worker.partner.operations.accounts import CREATE_ACCOUNTS
from worker.partner.operations.cancellations import CANCEL_DEMO, CANCEL_LIVE
from worker.partner.operations.contact import UPDATE_CONTACT
from worker.partner.operations.entitlements import ADD_ENTITLEMENT, ADD_ENTITLEMENT_AGAIN
from worker.partner.operations.permissions import CREATE_PERMISSION, CREATE_PERMISSION_LIVE, REQUEST_PERMISSION
from worker.partner.operations.resets import RESET
from worker.partner.operations.revocations import FIND_PERMISSIONS, REVOKE
from worker.partner.operations.risk import LOCK, READ_LIMITS, READ_LOCK, READ_UNLOCK, UNLOCK, UPDATE_LIMITS
from worker.partner.operations.subaccounts import CHECK_DUPLICATE, CREATE_REQUEST, REQUEST_STATUS, SUBMIT_DOCUMENT
from worker.partner.operations.users import CREATE_USERS

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        REVOKE,
        FIND_PERMISSIONS,
        LOCK,
        READ_LOCK,
        CANCEL_LIVE,
        CANCEL_DEMO,
        ADD_ENTITLEMENT,
        CREATE_PERMISSION,
        CREATE_PERMISSION_LIVE,
        REQUEST_PERMISSION,
        CREATE_ACCOUNTS,
        CREATE_USERS,
        UNLOCK,
        READ_UNLOCK,
        READ_LIMITS,
        UPDATE_LIMITS,
        CHECK_DUPLICATE,
        CREATE_REQUEST,
        SUBMIT_DOCUMENT,
        RESET,
        UPDATE_CONTACT,
        ADD_ENTITLEMENT_AGAIN,
        REQUEST_STATUS,
    )
}
"""By name, most urgent first."""

ENDPOINTS: Sequence[str] = tuple(dict.fromkeys(operation.vendor for operation in OPERATIONS.values()))
"""The vendor's names of them, as a person knows them: one may be several operations here."""

__all__ = ["ENDPOINTS", "OPERATIONS"]
