"""Who is asking: without the token no page is shown, and a form of another site changes nothing.

    page     signed in, or 303 to /sign-in
    action   signed in, or 401; with a cookie also the form's CSRF token, or 403

A request with `Authorization: Bearer` needs no CSRF token, whatever cookies it brings: no other site can make a
browser send that header.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worker.ledger.database import DatabaseError
from worker.operate.console.render import Renderer
from worker.operate.console.requests import FormTooLarge, SubmittedForm, read_form
from worker.operate.console.session import COOKIE, LIFE, ConsoleSession, Signer
from worker.operate.console.throttle import Throttle

WRONG_COSTS = 0.5
"""Seconds that a wrong token costs its sender. Only that request waits; the loop goes on."""

NEXT = "tradovate_worker_next"
"""The cookie that remembers, for ten minutes, which page was asked for before the signing-in."""

_NEXT_LIFE = 600

Page = Callable[[Request, ConsoleSession], Awaitable[Response]]
Action = Callable[[Request, ConsoleSession, SubmittedForm], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Guard:
    """Stands before every page and action.

    `clock` dates cookies, which other replicas must understand; wrong tokens are counted by `monotonic`.
    """

    signer: Signer
    render: Renderer
    throttle: Throttle = field(default_factory=Throttle)
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    wrong_costs: float = WRONG_COSTS
    before: Callable[[], Awaitable[None]] | None = None  # awaited before each page is made

    def page(self, page: Page) -> Endpoint:
        """A page for people who are signed in."""

        async def endpoint(request: Request) -> Response:
            session = await self._who(request)
            if isinstance(session, Response):
                return session
            if session is None:
                return self._to_sign_in(request)
            try:
                if self.before is not None:
                    await self.before()
                return await page(request, session)
            except DatabaseError as error:
                return self.render.message(request, 503, "Not now", error.sentence)

        return endpoint

    def stream(self, stream: Page) -> Endpoint:
        """As a page, but for a browser's event source, which cannot follow to a form: 401."""

        async def endpoint(request: Request) -> Response:
            session = await self._who(request)
            if isinstance(session, Response):
                return session
            if session is None:
                return self.render.message(request, 401, "Sign in first", "Nothing is shown before that.")
            return await stream(request, session)

        return endpoint

    def action(self, action: Action) -> Endpoint:
        """A change, for people who are signed in."""

        async def endpoint(request: Request) -> Response:
            session = await self._who(request)
            if isinstance(session, Response):
                return session
            if session is None:
                return self.render.message(request, 401, "Sign in first", "Nothing was changed.")
            form = await _form(request)
            if form is None:
                return self.render.message(request, 413, "Too much", "A form has 64 KiB at most. Nothing was changed.")
            given = request.headers.get("x-csrf-token") or form.get("csrf")
            if session.csrf and not self.signer.is_csrf(session, given):
                text = "The form is not this session's: load the page again. Nothing was changed."
                return self.render.message(request, 403, "Not done", text)
            try:
                return await action(request, session, form)
            except DatabaseError as error:
                return self.render.message(request, 503, "Not now", error.sentence)

        return endpoint

    async def _who(self, request: Request) -> ConsoleSession | Response | None:
        """The session, None for nobody, or an answer for an address that has guessed too often."""
        now = self.clock()
        bearer = _bearer(request)
        if bearer is None and (session := self.signer.read(request.cookies.get(COOKIE, ""), now)) is not None:
            return session
        if too_many := self._too_many(request):
            return too_many
        if bearer is None:
            return None
        if await self._right(request, bearer):
            return ConsoleSession("bearer", int(now) + LIFE)
        return None

    def _too_many(self, request: Request) -> Response | None:
        wait = self.throttle.wait(_address(request), self.monotonic())
        if not wait:
            return None
        seconds = int(wait) + 1
        text = f"Ten wrong tokens came from your address within a minute. Wait {seconds} s."
        return self.render.message(request, 429, "Wait", text, {"retry-after": str(seconds)})

    async def _right(self, request: Request, token: str) -> bool:
        if self.signer.is_token(token):
            return True
        # Counted before the wait: ten guesses at once are ten guesses.
        self.throttle.wrong(_address(request), self.monotonic())
        await asyncio.sleep(self.wrong_costs)
        return False

    # -- signing in and out ----------------------------------------------------------------------------------

    async def sign_in_page(self, request: Request) -> Response:
        """The form."""
        if self.signer.read(request.cookies.get(COOKIE, ""), self.clock()) is not None:
            return self._onward(request)
        if too_many := self._too_many(request):
            return too_many
        # A link from elsewhere comes without the strict cookie, though there may be one: the page asks once more by
        # itself, and then it brings it.
        from_elsewhere = request.headers.get("sec-fetch-site") == "cross-site"
        return self.render.page(request, "sign_in.html", None, wrong=False, ask_again=from_elsewhere)

    async def sign_in(self, request: Request) -> Response:
        """Sets the cookie for a browser that shows the token."""
        if too_many := self._too_many(request):
            return too_many
        if request.headers.get("sec-fetch-site") == "cross-site":
            # Otherwise another site could use up the ten tries of its visitor's address.
            return self.render.message(request, 403, "Not done", "The form was not sent from the console.")
        form = await _form(request)
        if too_many := self._too_many(request):  # others were wrong while the form arrived
            return too_many
        if form is None or not await self._right(request, form.get("token")):
            return self.render.page(request, "sign_in.html", None, status=401, wrong=True, ask_again=False)
        answer = self._onward(request)
        answer.set_cookie(
            COOKIE,
            self.signer.open(" ".join(form.get("by").split()), self.clock()),
            max_age=LIFE,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    async def sign_out(self, request: Request, _session: ConsoleSession, _form: SubmittedForm) -> Response:
        """Takes the cookie away."""
        answer = self.render.redirect("/sign-in")
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    def _to_sign_in(self, request: Request) -> Response:
        if request.headers.get("hx-request") == "true":
            # A fragment of a page whose session has run out: the whole page goes to the form.
            return Response(status_code=401, headers={**self.render.headers, "hx-redirect": "/sign-in"})
        answer = self.render.redirect("/sign-in")
        if request.method == "GET" and request.url.path != "/":
            asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            answer.set_cookie(
                NEXT,
                quote(asked, safe=""),
                max_age=_NEXT_LIFE,
                path="/sign-in",
                httponly=True,
                samesite="lax",
                secure=request.url.scheme == "https",
            )
        return answer

    def _onward(self, request: Request) -> RedirectResponse:
        asked = unquote(request.cookies.get(NEXT, ""))
        answer = self.render.redirect(asked if is_local(asked) else "/")
        answer.delete_cookie(NEXT, path="/sign-in", httponly=True, samesite="lax", secure=request.url.scheme == "https")
        return answer


def is_local(address: str) -> bool:
    r"""Whether an address can only be a page of ours: `//host` and `/\host` are other sites to a browser."""
    return (
        address.startswith("/")
        and not address.startswith(("//", "/\\"))
        and address.isascii()
        and address.isprintable()
        and not address.startswith(("/events", "/sign-"))
    )


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return token.strip().encode("latin-1").decode("utf-8", "surrogateescape")  # headers come decoded as Latin-1


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else "?"


async def _form(request: Request) -> SubmittedForm | None:
    try:
        return await read_form(request)
    except FormTooLarge:
        return None
