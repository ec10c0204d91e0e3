"""Which permission class of the API key a call needs: what an operator must set when it is answered 401.

The vendor's portal names the classes (`Denied`, `Read`, `FullAccess` of each), and they start at none. Which call
needs which follows from the section of the API reference that it stands in; nobody has published a table.
"""

from __future__ import annotations

_READS = ("find", "finds", "item", "items", "deps", "ldeps", "list")
_ACCOUNTING = ("account", "tradingpermission", "cashbalance")
_CONFIGURATION = ("entitlement", "adminalert")
_RISKS = ("accountriskstatus", "useraccountautoliq")
_FEES = ("tradovatesubscriptionplan", "marketdatasubscriptionplan")


def access_of(endpoint: str) -> str:
    """The class and level for an endpoint: a path, or an operation's name."""
    entity, _, verb = endpoint.strip("/").lower().rpartition("/")
    if entity == "adminalertsignal":
        return "Alerts: Read"
    if entity in _CONFIGURATION:
        return "Configuration: Read"
    if entity in _FEES:
        return "Fees: Read"
    level = "Read" if verb in _READS or verb == "getaccounttradingpermissions" else "FullAccess"
    if entity in _RISKS or verb in ("setadminautoliqaction", "updateuserautoliqs"):
        return f"Risks: {level}"
    accounting = entity in _ACCOUNTING or verb in ("getaccounttradingpermissions", "resetdemoaccountstate")
    return f"{'Accounting' if accounting else 'Users'}: {level}"
