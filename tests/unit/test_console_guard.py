"""Who gets into the console, and what a form needs before anything is changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from worker.operate.console.guard import Guard, is_local
from worker.operate.console.render import Renderer
from worker.operate.console.requests import SubmittedForm
from worker.operate.console.session import COOKIE, LIFE, ConsoleSession, Signer

TOKEN = "a token of the tests"
KEY = "a key of the tests that is long enough"


@dataclass
class Doors:
    """A page and an action behind the guard. `now` is its clock."""

    now: float = 1_000_000.0
    changed: list[str] = field(default_factory=list)
    keys: tuple[str, ...] = (KEY,)
    token: str = TOKEN
    costs: float = 0.0

    def __post_init__(self) -> None:
        """Makes the application."""
        signer = Signer(self.token, self.keys)
        guard = Guard(
            signer,
            Renderer("staging"),
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            wrong_costs=self.costs,
        )

        async def page(_request: Request, session: ConsoleSession) -> Response:
            return PlainTextResponse(f"inside, {session.by}, {session.csrf}")

        async def action(_request: Request, _session: ConsoleSession, form: SubmittedForm) -> Response:
            self.changed.append(form.get("what"))
            return PlainTextResponse("done")

        self.app = Starlette(
            routes=[
                Route("/sign-in", guard.sign_in_page, methods=["GET"]),
                Route("/sign-in", guard.sign_in, methods=["POST"]),
                Route("/sign-out", guard.action(guard.sign_out), methods=["POST"]),
                Route("/", guard.page(page)),
                Route("/flows", guard.page(page)),
                Route("/events", guard.stream(page)),
                Route("/change", guard.action(action), methods=["POST"]),
            ]
        )

    def client(self, address: str = "10.0.0.1", **headers: str) -> httpx.AsyncClient:
        """A browser at that address."""
        transport = httpx.ASGITransport(app=self.app, client=(address, 1234))
        return httpx.AsyncClient(transport=transport, base_url="http://console", headers=headers)

    async def inside(self, by: str = "Ada") -> tuple[httpx.AsyncClient, str]:
        """A browser that is signed in, and its CSRF token."""
        client = self.client()
        answer = await client.post("/sign-in", data={"token": self.token, "by": by})
        assert answer.status_code == 303
        return client, (await client.get("/")).text.split(", ")[2]


BEARER = {"authorization": f"Bearer {TOKEN}"}


async def test_nobody_gets_in_without_the_token() -> None:
    """Unsigned, pages lead to the form, the stream and actions answer 401, and nothing is changed."""
    doors = Doors()
    async with doors.client() as client:
        for path in ("/", "/flows?q=1"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert (await client.get("/events")).status_code == 401
        assert (await client.post("/change", data={"what": "it"})).status_code == 401
        assert (await client.post("/sign-out")).status_code == 401
    assert doors.changed == []


async def test_the_right_token_opens_by_header_and_by_form() -> None:
    """A Bearer header opens each request by itself; the form sets a cookie that opens the following ones."""
    doors = Doors()
    async with doors.client() as client:
        assert (await client.get("/", headers=BEARER)).status_code == 200
        assert (await client.get("/")).status_code == 303
    client, _ = await doors.inside()
    assert (await client.get("/flows")).text.startswith("inside, Ada")
    await client.aclose()


async def test_the_cookie_is_closed_to_scripts_and_other_sites_and_never_holds_the_token() -> None:
    """HttpOnly, SameSite=Strict, an end, Secure where the page is; and no token in it or in an address."""
    doors = Doors()
    async with doors.client() as client:
        answer = await client.post("/sign-in", data={"token": TOKEN, "by": "Ada"})
    (cookie,) = [text for text in answer.headers.get_list("set-cookie") if text.startswith(COOKIE)]
    assert {"HttpOnly", "SameSite=strict", f"Max-Age={LIFE}"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert answer.headers["location"] == "/"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=doors.app), base_url="https://console") as client:
        answer = await client.post("/sign-in", data={"token": TOKEN})
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_cookie_opens_every_replica_until_it_ends() -> None:
    """Another replica accepts it, also after SECRET_KEY gained a new part; nobody does after its time."""
    doors = Doors()
    client, _ = await doors.inside()
    cookie = client.cookies[COOKIE]
    await client.aclose()
    for other, status in (
        (Doors(), 200),
        (Doors(keys=("another key that is also long enough", KEY)), 200),
        (Doors(keys=("another key that is also long enough",)), 303),
        (Doors(token="another token than that"), 303),
        (Doors(now=1_000_000.0 + LIFE), 303),
    ):
        async with other.client(cookie=f"{COOKIE}={cookie}") as elsewhere:
            assert (await elsewhere.get("/")).status_code == status


@pytest.mark.parametrize("cookie", ["", ".", "x", "a.b", "é", "bm90ZQ.bm90ZQ", "W10.W10", "=" * 5000])
async def test_a_cookie_that_is_not_ours_opens_nothing(cookie: str) -> None:
    """Whatever is in it."""
    async with Doors().client() as client:
        client.headers["cookie"] = f"{COOKIE}={cookie}".encode().decode("latin-1")
        assert (await client.get("/")).status_code == 303


@pytest.mark.parametrize("by_header", [True, False])
async def test_ten_wrong_tokens_in_a_minute_shut_the_address_out(by_header: bool) -> None:
    """The eleventh gets 429, the right one too, until a minute after the first; other addresses are not concerned."""
    doors = Doors()

    async def attempt(client: httpx.AsyncClient, token: str) -> int:
        if by_header:
            return (await client.get("/", headers={"authorization": f"Bearer {token}"})).status_code
        return (await client.post("/sign-in", data={"token": token})).status_code

    async with doors.client() as client, doors.client("10.0.0.2") as other:
        wrong = [await attempt(client, f"guess {n}") for n in range(10)]
        assert set(wrong) == {303 if by_header else 401}
        assert await attempt(client, "guess") == 429
        assert await attempt(client, TOKEN) == 429
        assert (await client.get("/sign-in")).status_code == 429
        answer = await client.post("/change", headers=BEARER)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "61")
        assert await attempt(other, TOKEN) in (200, 303)
        doors.now += 61
        assert await attempt(client, TOKEN) in (200, 303)


async def test_ten_guesses_at_once_are_ten_guesses() -> None:
    """A wrong token costs its sender half a second, is counted before that, and holds up nobody else."""
    doors = Doors(costs=0.5)
    client, _ = await doors.inside()
    async with doors.client("10.0.0.9") as guesser:
        begun = time.monotonic()
        guesses = [asyncio.create_task(guesser.post("/sign-in", data={"token": f"{n}"})) for n in range(40)]
        assert (await client.get("/")).status_code == 200
        assert time.monotonic() - begun < 0.4
        statuses = sorted([answer.status_code for answer in await asyncio.gather(*guesses)])
    assert statuses == [401] * 10 + [429] * 30
    assert time.monotonic() - begun >= 0.5
    await client.aclose()


async def test_guesses_whose_forms_come_late_are_ten_guesses() -> None:
    """A client that sends the heads of many requests first, and their forms later, has ten guesses too; the right one
    among the others opens nothing.
    """
    doors, all_begun = Doors(), asyncio.Event()
    tokens = [f"guess{number}" for number in range(20)]
    tokens.insert(15, TOKEN.replace(" ", "+"))
    begun: list[str] = []

    async def late(token: str) -> AsyncIterator[bytes]:
        begun.append(token)  # the server reads the form: it has seen the head
        if len(begun) == len(tokens):
            all_begun.set()
        await all_begun.wait()
        yield f"token={token}".encode()

    async with doors.client() as client:
        head = {"content-type": "application/x-www-form-urlencoded"}
        tries = [client.post("/sign-in", content=late(token), headers=head) for token in tokens]
        answers = await asyncio.gather(*tries)
    assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 11


async def test_a_token_with_letters_outside_ascii_opens_by_header_and_by_form() -> None:
    """A header comes as bytes, in whatever encoding: the token's is UTF-8."""
    doors = Doors(token="ein Schlüssel für den Prüfer")
    header = f"Bearer {doors.token}".encode()
    async with doors.client() as client:
        assert (await client.get("/", headers={b"Authorization": header})).status_code == 200
        assert (await client.post("/sign-in", data={"token": doors.token})).status_code == 303


async def test_a_signed_in_browser_is_not_shut_out_by_a_neighbour() -> None:
    """A browser that has signed in goes on working although its address is shut out for guessing."""
    doors = Doors()
    client, _ = await doors.inside()
    async with doors.client() as guesser:
        for n in range(11):
            await guesser.post("/sign-in", data={"token": f"{n}"})
    assert (await client.get("/flows")).status_code == 200
    await client.aclose()


async def test_a_form_needs_the_csrf_token_of_its_session() -> None:
    """With a cookie a change needs the token, in a field or a header; another session's is as good as none."""
    doors = Doors()
    client, csrf = await doors.inside()
    other, others_csrf = await doors.inside("Grace")
    for data in ({"what": "a"}, {"what": "b", "csrf": ""}, {"what": "c", "csrf": others_csrf}, {"csrf": "é" * 40}):
        assert (await client.post("/change", data=data)).status_code == 403
    assert doors.changed == []
    assert (await client.post("/change", data={"what": "d", "csrf": csrf})).status_code == 200
    assert (await client.post("/change", data={"what": "e"}, headers={"x-csrf-token": csrf})).status_code == 200
    assert doors.changed == ["d", "e"]
    await client.aclose()
    await other.aclose()


async def test_a_bearer_request_needs_no_csrf_token() -> None:
    """No other site can make a browser send the header: programs act without a page, whatever cookies they have."""
    doors = Doors()
    client, _ = await doors.inside()
    assert (await client.post("/change", data={"what": "it"}, headers=BEARER)).status_code == 200
    wrong = {"authorization": "Bearer wrong"}
    assert (await client.post("/change", data={"what": "no"}, headers=wrong)).status_code == 401
    assert doors.changed == ["it"]
    await client.aclose()


async def test_signing_out_takes_the_cookie_away() -> None:
    """Afterwards the browser has none, and is led to the form."""
    doors = Doors()
    client, csrf = await doors.inside()
    assert (await client.post("/sign-out", data={"csrf": csrf})).status_code == 303
    assert (await client.get("/")).headers["location"] == "/sign-in"
    await client.aclose()


async def test_the_page_that_was_asked_for_comes_after_signing_in() -> None:
    """And only a page of ours: no other site can be smuggled in there."""
    doors = Doors()
    async with doors.client() as client:
        assert (await client.get("/flows?q=100234")).headers["location"] == "/sign-in"
        answer = await client.post("/sign-in", data={"token": TOKEN})
        assert answer.headers["location"] == "/flows?q=100234"
    for address in ("//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb", "/events", "/sign-out"):
        assert not is_local(address)


async def test_another_site_can_neither_sign_a_browser_in_nor_spend_their_tries() -> None:
    """A form from elsewhere is refused before the token is looked at."""
    async with Doors().client(**{"sec-fetch-site": "cross-site"}) as client:
        for _ in range(11):
            assert (await client.post("/sign-in", data={"token": "wrong"})).status_code == 403
        assert (await client.get("/sign-in")).status_code == 200


async def test_a_form_that_is_too_large_is_not_read_to_its_end() -> None:
    """413, signed in or not, and nothing is changed."""
    doors = Doors()
    async with doors.client() as client:
        answer = await client.post("/change", content=b"what=" + b"x" * 100_000, headers=BEARER)
        assert answer.status_code == 413
        assert (await client.post("/sign-in", content=b"token=" + b"x" * 100_000)).status_code == 401
    assert doors.changed == []


async def test_every_answer_shuts_a_browsers_doors() -> None:
    """No inline script or style, no frame, no sniffing, no store, no referrer; on refusals and redirects too."""
    async with Doors().client() as client:
        answers = [await client.get("/sign-in"), await client.get("/"), await client.post("/change")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
