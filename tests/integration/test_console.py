"""The console of a real replica, over HTTP: off without a token, live, and honest about what is away."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.support.events import personal, purchase
from tests.support.spine import Stages
from tests.support.stage import Here, Stage
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres
from worker.operate.console.live import PARTS
from worker.version import VERSION

TOKEN = "a-token-of-the-tests"

PAGES = ("/", "/flows", "/dead-letters", "/calls", "/reconcile")


@asynccontextmanager
async def console(here: Here, token: str = TOKEN) -> AsyncIterator[httpx.AsyncClient]:
    """A program that shows the token with each request."""
    assert here.replica.served is not None
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(
        base_url=here.replica.served.address, headers=headers, timeout=20, trust_env=False
    ) as client:
        yield client


async def opened(stage: Stages, **settings: str) -> tuple[Stage, Here]:
    """A stage with one replica that has a console."""
    on = await stage(CONSOLE_TOKEN=TOKEN, **settings)
    return on, await on.replica()


async def flow_of(on: Stage, event_id: str) -> str:
    """A flow's id."""
    (row,) = await eventually(lambda: on.rows("select id from flow where event_id = $1", event_id))
    return str(row["id"])


async def waiting(on: Stage, number: int = 1) -> str:
    """A purchase that waits for a trader whom nobody has seen."""
    event = purchase(number)
    del event["user"]
    await on.buy(event)
    await eventually(lambda: on.steps("state = 'waiting' and lease is null"))
    return await flow_of(on, event["eventId"])


async def test_what_a_page_does_not_do_is_not_there(stage: Stages) -> None:
    """Other methods and other spellings of an address are 404, signed in or not."""
    _, here = await opened(stage)
    for token in (TOKEN, ""):
        async with console(here, token) as client:
            for method, path in (
                ("POST", "/health/live"),
                ("PUT", "/flows"),
                ("DELETE", "/metrics"),
                ("GET", "/sign-out"),
                ("GET", "/health/live/"),
                ("GET", "/flows/"),
                ("GET", "/nothing"),
            ):
                assert (await client.request(method, path)).status_code == 404, (method, path)


async def test_without_a_token_there_is_no_console(stage: Stages) -> None:
    """Every page, form and file of it is 404, with and without a header; health and metrics are there."""
    on = await stage()
    here = await on.replica()
    async with console(here) as client:
        for path in (*PAGES, "/sign-in", "/events", "/static/htmx.min.js", "/flows/x/retry"):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.post("/sign-in", data={"token": TOKEN})).status_code == 404
        assert (await client.get("/health/ready")).status_code == 200


async def test_what_a_page_needs_is_in_the_package(stage: Stages) -> None:
    """Style and scripts come from the replica itself, with their licences; no page names another host."""
    _, here = await opened(stage)
    async with console(here) as client:
        for path in PAGES:
            text = (await client.get(path)).text
            assert not re.findall(r'(?:src|href|action)="(?!/)[^"#]', text), path
            for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', text):
                answer = await client.get(asset)
                assert answer.status_code == 200, asset
                again = await client.get(asset, headers={"if-none-match": answer.headers["etag"]})
                assert again.status_code == 304
        for name in ("htmx", "htmx-sse"):
            licence = await client.get(f"/static/{name}.LICENSE.txt")
            assert "Permission to use, copy, modify" in licence.text
        for name in ("..%2fapp.py", "none.js", "%2e%2e"):
            assert (await client.get(f"/static/{name}")).status_code == 404


async def test_each_page_says_which_version_serves_it(stage: Stages) -> None:
    """During a roll-out an operator sees on every page which version has answered."""
    _, here = await opened(stage)
    async with console(here) as client:
        for path in PAGES:
            assert f"version {VERSION}" in (await client.get(path)).text, path


async def test_a_search_finds_a_flow_by_any_of_its_ids(stage: Stages) -> None:
    """By order, trader, account, event and flow id; filters narrow it; what means nothing finds nothing."""
    on, here = await opened(stage)
    await on.buy(purchase(1), purchase(2))
    outcome, _ = await on.all_ended()
    async with console(here) as client:
        for text in ("100001", "cust-1", str(outcome["accountId"]), "e-1", outcome["flowId"]):
            found = await client.get("/flows", params={"q": text})
            assert found.text.count("/flows/0") == 1, text
            assert outcome["flowId"] in found.text
            for narrow, count in (({"state": "succeeded", "topic": "trader.purchased"}, 1), ({"state": "failed"}, 0),
                                  ({"topic": "md.signed"}, 0), ({"until": "2020-01-01T00:00"}, 0),
                                  ({"since": "2020-01-01T00:00"}, 1), ({"since": "2199-01-01T00:00"}, 0)):  # fmt: skip
                narrowed = await client.get("/flows", params={"q": text, **narrow})
                assert narrowed.text.count("/flows/0") == count, (text, narrow)
        for text in ("nothing", "%", "' or 1=1 --", "\0", "9" * 40, "0" * 19 + "9" * 40, "é" * 300):
            answer = await client.get("/flows", params={"q": text})
            assert (answer.status_code, "No flow meets this" in answer.text or not text.strip("\0")) == (200, True)


async def test_lists_go_on_from_their_last_row(stage: Stages) -> None:
    """A page has fifty rows; following `Older` shows every flow and every call once, and then ends."""
    on, here = await opened(stage)
    await on.buy(*(purchase(number) for number in range(120)))
    await on.all_ended(60)
    async with console(here) as client:
        for path, row in (("/flows", r"/flows/([0-9a-f-]{36})"), ("/flows?state=succeeded", r"/flows/([0-9a-f-]{36})")):
            seen: list[str] = []
            onward: str | None = path
            while onward:
                text = (await client.get(onward)).text
                seen += re.findall(row, text)
                older = re.search(r'href="(/flows\?[^"]*before=[^"]+)"', text)
                onward = older[1].replace("&amp;", "&") if older else None
            assert len(seen) == len(set(seen)) == 120


async def test_nothing_personal_is_on_any_page(stage: Stages) -> None:
    """While a flow runs and after it has ended, whatever the partner says."""
    on, here = await opened(stage)
    event = purchase(1, contact=True)
    said = f"{event['user']['firstName']} {event['user']['lastName']} cannot be {event['user']['name']}"
    on.fault("poison", "/user/createEvaluationUsers", contains=event["user"]["name"], form="item", body=said)
    await on.buy(event)
    await on.outcome(event)
    flow = await flow_of(on, "e-1")
    async with console(here) as client:
        for path in (*PAGES, f"/flows/{flow}", f"/flows/{flow}/retry", "/flows?q=e-1"):
            text = (await client.get(path)).text
            assert not [value for value in personal(event) if value in text], path
        assert "*** *** cannot be ***" in (await client.get(f"/flows/{flow}")).text


async def test_a_flow_that_waits_says_why_and_can_be_cancelled(stage: Stages) -> None:
    """Not without a reason; then the outcome is failed, cancelled, with the reason, and who did it is kept."""
    on, here = await opened(stage, UNKNOWN_WAIT_SECONDS="60")
    flow = await waiting(on)
    async with console(here) as client:
        assert "It waits for the user of trader cust-1" in (await client.get(f"/flows/{flow}")).text
        assert "It waits for the user of trader cust-1" in (await client.get("/")).text
        assert (await client.post(f"/flows/{flow}/cancel", data={"reason": "  "})).status_code == 422
        assert (await client.post(f"/flows/{flow}/retry", data={"reason": "why"})).status_code == 409
        assert (await client.post(f"/flows/{flow}/resolve", data={"reason": "why"})).status_code == 422
        done = await client.post(f"/flows/{flow}/cancel", data={"reason": "asked by the shop", "by": "Ada"})
        assert (done.status_code, done.headers["location"]) == (303, f"/flows/{flow}")
        outcome = await on.outcome("e-1")
        assert (outcome["errorCode"], outcome["errorText"]) == ("cancelled", "asked by the shop")
        assert "Ada cancelled it" in (await client.get(f"/flows/{flow}")).text
        assert (await client.post(f"/flows/{flow}/cancel", data={"reason": "again"})).status_code == 409


async def test_what_is_not_there_is_404(stage: Stages) -> None:
    """Flows, dead letters and pages that nobody knows."""
    _, here = await opened(stage)
    nobody = "00000000-0000-7000-8000-000000000000"
    async with console(here) as client:
        for path in (f"/flows/{nobody}", "/flows/x", f"/flows/{nobody}/retry", f"/flows/{nobody}/eat", "/nowhere",
                     "/dead-letters/trader.purchased/0/999", "/dead-letters/trader.purchased/999/0",
                     "/dead-letters/unheard.of/0/0", "/dead-letters/unheard.of/replay"):  # fmt: skip
            assert (await client.get(path)).status_code == 404, path
        assert (await client.post(f"/flows/{nobody}/retry", data={"reason": "why"})).status_code == 404
        assert (await client.post("/dead-letters/trader.purchased/0/999")).status_code == 404


async def test_calls_are_reported_by_operation_and_result(stage: Stages) -> None:
    """The last ones first, with items, time and what came of them; filters name what there was."""
    on, here = await opened(stage)
    await on.buy(*(purchase(number) for number in range(3)))
    await on.all_ended()
    async with console(here) as client:
        for query, kinds in (
            ("", {"accessTokenRequest", "createEvaluationUsers", "createEvaluationAccounts"}),
            ("result=answer", {"accessTokenRequest", "createEvaluationUsers", "createEvaluationAccounts"}),
            ("operation=createEvaluationUsers", {"createEvaluationUsers"}),
            ("operation=createEvaluationUsers&result=answer", {"createEvaluationUsers"}),
            ("operation=createEvaluationUsers&result=refusal", set()),
            ("result=none", set()),
            ("operation=unheard", set()),
        ):
            text = (await client.get(f"/calls?{query}")).text
            assert set(re.findall(r'data-label="operation">(\w+)', text)) == kinds, query


async def test_a_stream_tells_only_what_has_changed_and_ends_with_the_program(stage: Stages) -> None:
    """All parts once, then those that change; a stop does not wait for open pages."""
    on, here = await opened(stage)
    async with console(here) as client, client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        heard: list[str] = []

        async def listen() -> None:
            async for line in answer.aiter_lines():
                heard.extend(re.findall("^event: (.*)", line))

        listening = asyncio.create_task(listen())
        await eventually(lambda: set(heard) == set(PARTS))
        await on.buy(purchase(1))
        await on.outcome("e-1")
        await eventually(lambda: heard.count("chart") >= 2)
        assert heard.count("present") == 1
        begun = time.monotonic()
        await here.stop()
        assert time.monotonic() - begun < 5
        await asyncio.wait({listening}, timeout=5)
        assert listening.done()


async def test_a_ledger_that_is_away_is_said_and_comes_back_by_itself(
    fragile_stage: Stages, own_postgres: EmbeddedPostgres
) -> None:
    """Each page says so with 503 or in its top line, nothing is changed, and the next look finds the ledger again."""
    on, here = await opened(fragile_stage)
    await on.buy(purchase(1))
    await on.outcome("e-1")
    flow = await flow_of(on, "e-1")
    async with console(here) as client:
        await asyncio.to_thread(own_postgres.down)
        answer = await client.get("/")
        assert "PostgreSQL cannot be reached" in answer.text
        for path in ("/flows", "/calls", "/dead-letters", f"/flows/{flow}", f"/flows/{flow}/retry"):
            assert (await client.get(path)).status_code == 503, path
        assert (await client.post(f"/flows/{flow}/retry", data={"reason": "why"})).status_code == 503
        await asyncio.to_thread(own_postgres.up)

        async def back() -> bool:
            return flow in (await client.get("/flows")).text

        await eventually(back, 20)
