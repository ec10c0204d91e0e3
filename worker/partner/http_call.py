"""One HTTP call on its way: when its first byte may leave, how much of an answer is read, what a broken one proves."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore
import httpx

from schemas.cleaning import clean
from worker.errors import Interruption
from worker.partner.egress import tls_fault
from worker.partner.lockout import LockOut
from worker.replies import NotSent, Reply, Unclear

__all__ = ["HttpCall"]

NEEDS_NO_BODY = (423, 429)
"""Statuses that say all: a lock-out must not wait for a body that arrives slowly, nor be forgotten because one is
cut."""

_UNREACHABLE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_NOT_CONNECTED = (*_UNREACHABLE, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class _HeldBack(Interruption):
    """The call must not be sent: the time for it has passed, or this process has just been locked out."""


class _TooLong(Interruption):
    """The answer is longer than any that makes sense."""


class HttpCall:
    """One request on its way: what has been sent of it, and what has come back.

    `limit`: bytes of an answer. `send_before` (of `clock`, monotonic seconds): after that nothing is sent any more.
    `on_sent` is called when the request has been written. `held_back`: why it was not sent, if it must not be;
    `complete`: the whole answer is there.
    """

    def __init__(
        self,
        limit: int,
        send_before: float | None,
        clock: Callable[[], float],
        lockout: LockOut | None,
        on_sent: Callable[[], None],
    ) -> None:
        self._on_sent = on_sent
        self._limit = limit
        self._send_before = send_before
        self._clock = clock
        self._lockout = lockout
        self.sent = False  # a byte may have left
        self.complete = False
        self.held_back: str | None = None
        self.status: int | None = None
        self.date: datetime | None = None
        self.location: str | None = None
        self.body = bytearray()

    def check(self) -> None:
        """Ends the call when the lease under which it was claimed has ended, or in a lock-out: see `held_back`."""
        if self._send_before is not None and self._clock() >= self._send_before:
            self.held_back = "the time to send it had passed"
        elif self._lockout is not None:
            self.held_back = self._lockout.why_silent
        if self.held_back is not None:
            raise _HeldBack

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore at each stage of the request; what it raises stops the request.

        The race: a process is frozen (SIGSTOP, a paused VM) after it claimed steps. When it wakes up, its lease has run
        out, and another replica may have looked the steps up, found nothing, and sent them. So the last thing before
        the first byte is a look at the clock. What remains is a freeze between this line and the kernel's write, some
        microseconds, against the settle time that the other replica waits before it looks.
        """
        request = info.get("request")
        if request is not None and request.method == b"CONNECT":
            return  # to the proxy: nothing of the call leaves before the tunnel stands
        if event.endswith(".send_request_headers.started"):
            self.check()
            self.sent = True
        elif event.endswith(".send_request_body.complete"):
            self._on_sent()
        elif event.endswith(".send_request_headers.failed") and isinstance(
            info.get("exception"), httpcore.LocalProtocolError
        ):
            self.sent = False  # headers that cannot be written, found before the first byte

    async def read(self, response: httpx.Response) -> None:
        """Reads the answer up to the limit; raises whatever the wire raises, and ends what is too long."""
        try:
            self.status = response.status_code
            self.date = _date(response.headers.get("Date"))
            self.location = response.headers.get("Location")
            if self.status in NEEDS_NO_BODY:
                self.complete = True
                return
            if response.is_stream_consumed:  # a transport that hands over whole bodies: those of tests
                self.body += response.content
                self.complete = True
                return
            decoder = _decoder(response.headers.get("Content-Encoding", ""))
            async for chunk in response.aiter_raw():
                self.body += chunk if decoder is None else decoder.decompress(chunk, self._limit + 1)
                if len(self.body) > self._limit or (decoder is not None and decoder.unconsumed_tail):
                    raise _TooLong
            if decoder is not None and not decoder.eof and self.body:
                raise zlib.error("cut short")
            self.complete = True
        finally:
            await response.aclose()

    def fault(self, error: Exception) -> str:
        """The name of what has ended it, for the log and traces."""
        return "TooLong" if isinstance(error, _TooLong) else type(error).__name__

    def reply(self, error: Exception, timeout: float, *, traced: bool) -> Reply:
        """What a call proves that `error` has ended before the whole answer was there. Only what surely never left is
        `NotSent`. `timeout`: of the whole call, in seconds. `traced`: the transport has reported each stage.

        A pooled connection that the server closed just before our request looks like one that it closed just after
        carrying it out. The pool discards a connection on which a close has already arrived, and neither httpx nor
        httpcore sends a request twice; what remains is `Unclear`.
        """
        why = type(error).__name__
        if self.held_back is not None:
            return NotSent(self.held_back)
        if isinstance(error, _TooLong):
            return Unclear("an answer that is too long", self.status)
        if isinstance(error, _NOT_CONNECTED):
            said = tls_fault(error) or clean(str(error)) or why
            if isinstance(error, httpx.ProxyError):
                said = f"the proxy answered {said}"
            return NotSent(f"no connection ({said})", unreachable=isinstance(error, _UNREACHABLE))
        if traced and not self.sent:
            late = isinstance(error, TimeoutError)
            return NotSent(f"no connection in time ({why})" if late else why, unreachable=late)
        if isinstance(error, TimeoutError):
            return Unclear(f"no whole answer within {timeout:g} s")
        return Unclear(f"the connection broke ({why})")


def _decoder(encoding: str) -> Any:
    """Gzip only, in bounded steps: httpx's own decoders would blow a few kilobytes of `gzip, gzip` up to gigabytes."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding == "gzip":
        return zlib.decompressobj(wbits=31)
    raise zlib.error("an encoding that was not asked for")


def _date(header: str | None) -> datetime | None:
    if header is None:
        return None
    try:
        date = parsedate_to_datetime(header)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date
