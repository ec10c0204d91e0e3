"""Every Tradovate operation that the worker sends, one declaration each."""

from collections.abc import Mapping

from worker.tradovate.operation import Operation
from worker.tradovate.operations.accounts import CREATE_ACCOUNTS
from worker.tradovate.operations.contact import UPDATE_CONTACT
from worker.tradovate.operations.permissions import CREATE_PERMISSION
from worker.tradovate.operations.users import CREATE_USERS

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation for operation in (CREATE_PERMISSION, CREATE_ACCOUNTS, CREATE_USERS, UPDATE_CONTACT)
}

__all__ = ["OPERATIONS"]
