"""The console as a person on call uses it, in a browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from tests.support import oracle
from tests.support.browser import TOKEN, Person
from tests.support.events import personal, purchase
from tests.support.spine import Stages
from tests.support.stage import PURCHASED, Stage
from tests.support.waiting import eventually
from tests.support.wire import Heard
from worker.sandbox import SandboxConfig

MARKUP = "<img src=x onerror=alert(1)><script>document.title='owned'</script>"


async def opened(stage: Stages, driver: webdriver.Chrome, **settings: str) -> tuple[Stage, Person]:
    """A stage with one replica, and a browser at its console."""
    on = await stage(CONSOLE_TOKEN=TOKEN, **settings)
    here = await on.replica()
    assert here.replica.served is not None
    return on, Person(driver, here.replica.served.address)


async def person(does: Callable[[], Any]) -> Any:
    """What a person does, while the worker goes on."""
    return await asyncio.to_thread(does)


async def outcome_with(on: Stage, event_id: str, status: str) -> dict[str, Any]:
    """The event's outcome of that status."""

    def found() -> dict[str, Any] | None:
        return next((each for each in on.wire.outcomes_of(event_id) if each["status"] == status), None)

    outcome = await eventually(found, 20)
    assert outcome is not None
    return outcome


async def test_a_person_signs_in_finds_a_flow_by_its_order_and_signs_out(
    stage: Stages, driver: webdriver.Chrome
) -> None:
    """A wrong token is refused; the right one leads to the page asked for; an order leads to the story of its flow."""
    on, ada = await opened(stage, driver)
    await on.buy(purchase(1), purchase(2))
    await on.all_ended()

    def does() -> None:
        ada.go("/flows?q=100002")
        ada.fill("#token", "wrong")
        ada.click("main button")
        ada.reads("That is not the token", "[role=alert]")
        ada.fill("#token", TOKEN)
        ada.fill("#by", "Ada")
        ada.find("#by").send_keys(Keys.ENTER)
        ada.reads("e-2", "table.list")
        assert "e-1" not in ada.find("table.list").text
        ada.click("table.list a")
        said = ada.reads("Outcome", "main")
        for words in ("order 100002", "succeeded", "Accepted", "Call createEvaluationUsers", "accountName EVAL100002"):
            assert words in said.replace("\n", " "), words
        ada.click(".out button")
        ada.reads("Sign in", "h1")
        ada.go("/")
        ada.reads("Sign in", "h1")

    await person(does)
    assert not [message for message in ada.complaints if "401" not in message]
    assert TOKEN not in driver.current_url


async def test_a_person_retries_a_flow_that_failed(stage: Stages, driver: webdriver.Chrome) -> None:
    """After a confirmation and with a reason; it goes on before their eyes, and who did it and why is kept."""
    on, ada = await opened(stage, driver)
    event = purchase(1)
    on.fault("poison", "/user/createEvaluationUsers", contains=event["user"]["name"], form="item", body="No.", times=1)
    await on.buy(event)
    await outcome_with(on, "e-1", "failed")

    def does() -> None:
        ada.sign_in()
        ada.go("/flows?state=failed")
        ada.click("table.list a")
        ada.reads("No.", "blockquote.said")
        ada.click("#do-retry")
        ada.reads("planned again", "main")
        ada.fill("#reason", f"the name is free {MARKUP}")
        ada.click("main button")
        ada.reads("succeeded", ".state")
        assert f"the name is free {MARKUP}" in ada.reads("Ada retried it", ".timeline")

    await person(does)
    assert (await outcome_with(on, "e-1", "succeeded"))["accountName"] == "EVAL100001"
    (note,) = await on.rows('select action, "by", reason from note')
    assert (note["action"], note["by"]) == ("retry", "Ada")
    oracle.once_in_effect(on)
    assert driver.title != "owned"
    assert ada.complaints == []


async def test_a_person_resolves_a_flow_in_doubt(stage: Stages, driver: webdriver.Chrome) -> None:
    """With what they saw at Tradovate; without a reason nothing is done."""
    on, ada = await opened(stage, driver, RETRY_FOR_SECONDS="1")
    on.fault("cut_after", "/user/createEvaluationAccounts", times=1)
    for path in ("/account/find", "/account/finds"):
        on.fault("status_before", path, status=500)
    await on.buy(purchase(1))
    await outcome_with(on, "e-1", "in_doubt")

    def does() -> None:
        ada.sign_in()
        ada.reads("1 flow is in doubt", ".headline")
        ada.click("#count-in_doubt")
        ada.click("table.list a")
        ada.reads("Look at Tradovate", ".why")
        ada.click("#do-resolve")
        ada.click("#took")
        ada.fill("#set-accountId", "98765")
        ada.click("main button")
        assert "resolve" in driver.current_url  # the browser asks for the reason
        ada.fill("#reason", "seen in the back office")
        ada.click("main button")
        ada.reads("succeeded", ".state")
        ada.reads("Ada resolved it", ".timeline")

    await person(does)
    assert (await outcome_with(on, "e-1", "succeeded"))["accountId"] == 98765


async def test_a_person_replays_a_dead_letter(stage: Stages, driver: webdriver.Chrome) -> None:
    """They see what is wrong with it and nothing personal; it is judged again, and is published again once."""
    on, ada = await opened(stage, driver)
    event = purchase(1, contact=True)
    headers = [("dlq-reason", b"unknown_product"), ("dlq-error", f"no such product {MARKUP}".encode())]
    await on.wire.send(event, topic=f"{PURCHASED}.dlq", key=b"cust-1", headers=headers)

    def does() -> str:
        ada.sign_in()
        ada.go(f"/dead-letters?topic={PURCHASED}&reason=unknown_product")
        ada.click("table.list a")
        said = ada.reads("e-1", "main")
        ada.click("main form button")
        ada.reads("1 dead letter replayed", "h1")
        ada.go("/dead-letters")
        ada.reads("Z", "table.list tbody td:last-child")
        return said

    said = await person(does)
    assert MARKUP in said
    assert not [value for value in personal(event) if value in said]
    await outcome_with(on, "e-1", "succeeded")
    assert driver.title != "owned"


async def test_a_person_dismisses_a_dead_letter(stage: Stages, driver: webdriver.Chrome) -> None:
    """They say why beside it; the overview counts it as open until then, and not after."""
    on, ada = await opened(stage, driver)
    await on.wire.send(purchase(1), topic=f"{PURCHASED}.dlq", headers=[("dlq-reason", b"unknown_product")])

    def does() -> None:
        ada.sign_in()
        ada.reads("1 dead letter waits", "body")
        ada.go(f"/dead-letters?topic={PURCHASED}")
        ada.click("table.list a")
        ada.fill("#reason", f"a test of the shop {MARKUP}")
        ada.click("#dismiss")
        ada.reads(f"a test of the shop {MARKUP}", "main")
        ada.go("/")
        ada.reads("Nothing is wrong", "body")

    await person(does)
    assert driver.title != "owned"


async def test_all_dead_letters_of_a_topic_are_replayed_when_confirmed(stage: Stages, driver: webdriver.Chrome) -> None:
    """How many they are is said before and after."""
    on, ada = await opened(stage, driver)
    for number in range(3):
        await on.wire.send(purchase(number), topic=f"{PURCHASED}.dlq", headers=[("dlq-reason", b"unknown_product")])

    def does() -> None:
        ada.sign_in()
        ada.reads("3 dead letters wait", "body")
        ada.go(f"/dead-letters?topic={PURCHASED}")
        ada.click("#replay-all")
        ada.reads("3 dead letters are published", "main")
        ada.click("main form button")
        ada.reads("3 dead letters replayed", "h1")

    await person(does)
    for number in range(3):
        await outcome_with(on, f"e-{number}", "succeeded")


async def test_the_overview_changes_without_a_reload(stage: Stages, driver: webdriver.Chrome) -> None:
    """New outcomes, a pause and dead letters appear by themselves, and a keyboard's focus stays where it is."""
    on, ada = await opened(stage, driver)

    def looks() -> None:
        ada.sign_in()
        ada.reads("Nothing is wrong", ".headline")
        ada.reads("live", ".asof")
        ada.script("window.loadedOnce = true; document.getElementById('count-failed').focus()")

    def sees() -> None:
        ada.reads("3", "#count-succeeded b")
        ada.reads("is paused", "[role=status]")
        assert ada.script("return window.loadedOnce") is True
        assert ada.script("return document.activeElement.id") == "count-failed"

    await person(looks)
    await on.buy(*(purchase(number) for number in range(3)))
    await on.rows("insert into hold (scope, reason) values ('pause:updateContactInfo', $1)", MARKUP)
    await person(sees)
    assert MARKUP in (await person(lambda: ada.find("[role=status]").text))
    assert driver.title != "owned"
    assert ada.complaints == []


async def test_markup_in_an_events_fields_shows_as_text(stage: Stages, driver: webdriver.Chrome) -> None:
    """Event, trader and order ids may hold anything: the pages show it, and no browser runs it."""
    on, ada = await opened(stage, driver)
    event = purchase(1, eventId=f"e-{MARKUP}", traderId=f"t-{MARKUP}")
    await on.buy(event)
    await on.outcome(event)

    def does() -> None:
        ada.sign_in()
        ada.go("/flows?q=100001")
        ada.reads("<img src=x", "table.list")
        ada.click("table.list a")
        assert MARKUP in ada.reads("Accepted", "main")
        assert ada.script("return document.querySelectorAll('main img, main script').length") == 0

    await person(does)
    assert driver.title != "owned"
    assert ada.complaints == []


@pytest.mark.parametrize("width", [1280, 390])
async def test_every_page_is_there_for_keyboard_and_screen_reader(
    stage: Stages, driver: webdriver.Chrome, width: int
) -> None:
    """One heading, landmarks, a label for every field, no page wider than the screen, a way past the navigation."""
    on, ada = await opened(stage, driver)
    await on.buy(purchase(1))
    await on.outcome("e-1")
    await on.wire.send(json.dumps({"eventId": "e-bad"}).encode())
    dead: Heard = (await eventually(lambda: on.wire.dead_letters, 20))[0]
    (flow,) = await on.rows("select id from flow")
    letters = f"/dead-letters/{PURCHASED}"
    pages = ["/", "/flows", f"/flows/{flow['id']}", f"/flows/{flow['id']}/retry", "/dead-letters", "/calls",
             f"{letters}/{dead.partition}/{dead.offset}", f"{letters}/replay"]  # fmt: skip

    def does() -> None:
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            ada.go("/sign-in")
            assert ada.script(_LACKS) == []
            ada.sign_in()
            ada.reads("Sign out")
            for path in pages:
                ada.go(path)
                ada.find("main h1")
                assert ada.script(_LACKS) == [], path
            ada.find("body").send_keys(Keys.TAB)
            assert ada.script("return document.activeElement.className") == "skip"
        finally:
            driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    await person(does)


async def test_the_title_names_environment_and_state_on_every_page(stage: Stages, driver: webdriver.Chrome) -> None:
    """Of ten tabs the one with a problem is seen; a pause made on the page changes the title without a reload."""
    on, ada = await opened(stage, driver)
    await on.buy(purchase(1))
    await on.all_ended()

    def does() -> None:
        ada.sign_in()
        ada.until(lambda: driver.title == "staging all well: Overview · tradovate-worker", driver.title)
        ada.click("#do-pause")
        ada.choose("#operation", "createEvaluationUsers")
        ada.fill("#reason", "the wrong template")
        ada.click("main button")
        ada.reads("the wrong template (by Ada)", "#holds")
        ada.until(lambda: driver.title.startswith("staging 1 notice: Overview"), "a notice in the title")
        assert str(ada.find("#headline-0").get_attribute("href")).endswith("/#holds")
        for path, name in (("/flows", "Flows"), ("/calls", "Calls"), ("/dead-letters", "Dead letters")):
            ada.go(path)
            assert driver.title == f"staging 1 notice: {name} · tradovate-worker"
        ada.go("/flows?q=100001")
        ada.click("table.list td a")
        assert driver.title == "staging 1 notice: Flow 100001 succeeded · tradovate-worker"

    await person(does)
    assert [tuple(row) for row in await on.rows("select reason, by from hold")] == [("the wrong template", "Ada")]

    def resumes() -> None:
        ada.go("/")
        ada.click("#holds li a")
        ada.click("main button")  # the browser asks for the reason
        ada.fill("#reason", "the template is right again")
        ada.click("main button")
        ada.reads("Nothing keeps calls back", "#holds")
        ada.until(lambda: "all well" in driver.title, "all well in the title")

    await person(resumes)
    (hold,) = await on.rows("select cleared_reason, cleared_by from hold")
    assert tuple(hold) == ("the template is right again", "Ada")


async def test_calls_orders_and_traders_lead_to_their_flows(stage: Stages, driver: webdriver.Chrome) -> None:
    """From a call to the flows that it carried, from a flow to all flows of its trader; a look-up's 404 is not red."""
    on = await stage(SandboxConfig(finds_supported=False, find_nothing="404"), CONSOLE_TOKEN=TOKEN)
    here = await on.replica()
    assert here.replica.served is not None
    ada = Person(driver, here.replica.served.address)
    on.fault("cut_before", "/user/createEvaluationUsers", times=1)
    await on.buy(purchase(1), purchase(2))
    await on.all_ended()

    def does() -> None:
        ada.sign_in()
        ada.go("/calls?operation=createEvaluationAccounts")
        ada.click("td[data-label=items] a")
        assert "of call" in ada.find("h1").text
        shown = ada.find("table.list").text
        assert "100001" in shown or "100002" in shown
        ada.click("td[data-label=trader] a")
        assert "/flows?q=" in driver.current_url
        ada.click("table.list td a")
        ada.click(".facts dd a")
        assert "/flows?q=" in driver.current_url
        ada.go("/calls")
        badges = driver.find_elements("css selector", "td[data-label=result]")
        nothing = [each for each in badges if "nothing there" in each.text]
        assert nothing
        red = ada.script("return getComputedStyle(document.documentElement).getPropertyValue('--bad').trim()")
        colours = {
            ada.script("return getComputedStyle(arguments[0].firstElementChild).color", each) for each in nothing
        }
        assert len(colours) == 1
        assert _rgb(red) not in colours

    await person(does)


def _rgb(colour: str) -> str:
    """#a3241f as a browser computes it."""
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


async def test_at_1280_pixels_no_unit_is_wrapped_and_the_date_picker_shows_its_focus(
    stage: Stages, driver: webdriver.Chrome
) -> None:
    """A number stands on one line with its unit, and a keyboard's focus on a date picker's button is seen."""
    on, ada = await opened(stage, driver)
    await on.buy(*(purchase(number) for number in range(5)))
    await on.all_ended()

    def does() -> None:
        ada.sign_in()
        driver.set_window_size(1280, 900)
        ada.go("/flows")
        ada.click("td a")
        for path in ("/", "/flows", "/calls", driver.current_url.removeprefix(ada.address)):
            ada.go(path)
            assert ada.script(_WRAPPED) == [], path
        ada.go("/flows")
        field = ada.find("#since")
        ada.script("arguments[0].focus()", field)
        for _ in range(6):  # month, day, year, hour, minute, half of the day; the next one is the button
            driver.switch_to.active_element.send_keys(Keys.TAB)
        assert ada.script("return document.activeElement.id") == "since"
        seen = driver.get_screenshot_as_png()
        assert ada.script(_WITHOUT_THE_RULE) == 1
        assert driver.get_screenshot_as_png() != seen

    await person(does)


_WITHOUT_THE_RULE = """
const sheet = document.styleSheets[0];
const rules = [...sheet.cssRules].map((rule, at) => [rule.cssText, at]);
const found = rules.filter((each) => each[0].includes("focus-within"));
found.forEach((each) => sheet.deleteRule(each[1]));
return found.length;
"""

_WRAPPED = r"""
const found = [];
const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  for (const unit of walk.currentNode.data.matchAll(/[0-9][ \u00a0](ms|s|min|h|d)\b/g)) {
    const range = document.createRange();
    range.setStart(walk.currentNode, unit.index);
    range.setEnd(walk.currentNode, unit.index + unit[0].length);
    const tops = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
    if (tops.size > 1 || !unit[0].includes("\u00a0")) found.push(walk.currentNode.data);
  }
}
return found;
"""


_LACKS = """
const lacks = [];
const one = (css) => document.querySelectorAll(css).length === 1;
for (const css of ["h1", "main", "header.top", "head > title", "html[lang]"]) if (!one(css)) lacks.push(css);
for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
  if (!field.labels.length) lacks.push(`label of ${field.name}`);
for (const table of document.querySelectorAll("table")) if (!table.caption) lacks.push("caption");
for (const link of document.querySelectorAll("a, button")) if (!link.innerText.trim()) lacks.push("name of a link");
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
if (new Set(ids).size !== ids.length) lacks.push("ids that are unique");
if (document.documentElement.scrollWidth > innerWidth) lacks.push("room: it is wider than the screen");
return lacks;
"""
