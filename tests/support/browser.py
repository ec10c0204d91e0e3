"""A headless browser, and a person in front of the console."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

T = TypeVar("T")

TOKEN = "a-token-of-the-browser-tests"

_SECONDS = 20.0
"""What is live shows a change within two seconds; a machine that runs other tests too takes its time."""

_OPTIONS = (
    "--headless",
    "--no-sandbox",  # as root it starts no other way
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


def why_no_browser() -> str:
    """What this machine lacks for a browser of its own; empty when it lacks nothing."""
    lacking = [tool for tool in ("chromium", "chromedriver") if shutil.which(tool) is None]
    return f"no browser: {' and '.join(lacking)} not found (Debian: chromium, chromium-driver)" if lacking else ""


def start(profile: Path) -> webdriver.Chrome:
    """Starts it, with an empty profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


@dataclass(frozen=True)
class Person:
    """An operator who looks at the console of the replica at `address`. Waits for what should come, never for a
    while.
    """

    driver: webdriver.Chrome
    address: str

    def go(self, path: str) -> None:
        """Opens a page."""
        self.driver.get(self.address + path)

    def sign_in(self, token: str = TOKEN, by: str = "Ada") -> None:
        """Fills in the form, sends it, and is in."""
        self.go("/sign-in")
        self.fill("#token", token)
        self.fill("#by", by)
        self.click("main button")
        self.find(".out button")

    def find(self, css: str) -> WebElement:
        """The one element, as soon as it is there."""
        return self.until(lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, css)), None), css)

    def fill(self, css: str, text: str) -> None:
        """Types into a field."""
        field = self.find(css)
        field.clear()
        field.send_keys(text)

    def choose(self, css: str, value: str) -> None:
        """Chooses from a list."""
        Select(self.find(css)).select_by_value(value)

    def click(self, css: str) -> None:
        """Presses a button, or follows a link. What is live may be replaced between look and press: it looks again."""

        def pressed() -> bool:
            self.find(css).click()
            return True

        self.until(pressed, css)

    def follow(self, text: str) -> None:
        """Follows the link of that text."""
        self.until(lambda: next(iter(self.driver.find_elements(By.LINK_TEXT, text)), None), text).click()

    def reads(self, text: str, css: str = "body") -> str:
        """What stands there, once `text` is part of it."""

        def there() -> str | None:
            said = self.find(css).text
            return said if text in said else None

        return self.until(there, text)

    def until(self, condition: Callable[[], T | None], what: str) -> T:
        """The first truthy result, or an `AssertionError` with what the page says."""
        waiting = WebDriverWait(self.driver, _SECONDS, 0.05, [StaleElementReferenceException])
        try:
            found = waiting.until(lambda _driver: condition())
        except TimeoutException as error:
            page = self.driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(f"{what!r} did not come at {self.driver.current_url}:\n{page[:3000]}") from error
        assert found is not None
        return found

    def script(self, text: str, *arguments: Any) -> Any:
        """The result of a script in the page; the driver's are no part of it, and no policy stops them."""
        return self.driver.execute_script(text, *arguments)

    @property
    def complaints(self) -> list[str]:
        """What the browser's console has to complain of: refused scripts and styles above all."""
        said = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in said if entry["level"] in ("SEVERE", "WARNING")]
