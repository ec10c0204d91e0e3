"""Fixtures of the tests in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver

from tests.support.browser import start, why_no_browser
from tests.support.lacking import lacks
from tests.support.spine import stage

__all__ = ["stage"]


@pytest.fixture(scope="session")
def _chromium(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for the whole run."""
    if reason := why_no_browser():
        lacks(request, f"The tests in a browser did not run: {reason}")
    driver = start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def driver(_chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """The browser, without a cookie, on an empty page; left on one too, so that no stream outlives its test."""
    _chromium.get("about:blank")
    _chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    _chromium.get_log("browser")  # type: ignore[no-untyped-call]
    yield _chromium
    _chromium.get("about:blank")
