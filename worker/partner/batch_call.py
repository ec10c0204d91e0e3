"""One call for a batch: sent once, and its reply read once, as a result for each item."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from worker.partner.client import PartnerClient
from worker.partner.operation import Item, Operation
from worker.partner.permission_classes import access_of
from worker.partner.response import read_reply
from worker.partner.token import Token
from worker.replies import Reply, Unauthorized, Unclear
from worker.results import CallResult

log = structlog.get_logger()


async def send_batch(
    client: PartnerClient,
    operation: Operation,
    items: Sequence[Item],
    body: bytes,
    token: Token,
    *,
    send_before: float,
    denied: Callable[[], Awaitable[bool]],
    on_sent: Callable[[], None],
) -> tuple[Reply, CallResult]:
    """The reply as the call log keeps it, and a result for each of `items`. It raises nothing.

    `body`: the operation's request for these items, perhaps with a penalty ticket. `send_before`, `on_sent`: see
    `PartnerClient.post`. `denied`: whether a 401 means that the API key lacks a permission, which no other token cures.
    """
    try:
        reply = await client.post(
            operation.domain, operation.path, body, token=token, send_before=send_before, on_sent=on_sent
        )
    except asyncio.CancelledError:
        reply = Unclear("the worker was stopped")
    reply, result = read_reply(operation, reply, items)
    if isinstance(reply, Unauthorized) and await denied():
        log.warning("dispatch.not_permitted", operation=operation.vendor, needs=access_of(operation.path))
        _, result = read_reply(operation, reply, items, denied=True)
    return reply, result
