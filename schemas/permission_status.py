"""Statuses of a trading permission, as Tradovate writes them."""

from __future__ import annotations

PERMISSION_USABLE = frozenset({"Accepted", "Approved"})
"""Statuses of a trading permission that lets its trader in: what the vendor's samples say, and what live rows say."""
PERMISSION_LIVE = PERMISSION_USABLE | {"Requested"}
"""Those, and the one of a permission that is asked for."""
PERMISSION_ENDED = frozenset({"Revoked", "Declined"})
"""Statuses of a trading permission that lets nobody in. A status that is in none of these sets may let its trader in,
and proves nothing: it is revoked, and it is not adopted."""
