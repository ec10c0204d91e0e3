"""Which hosts of Tradovate's are called, as login, renewal and a redirect may change them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.partner.hosts import Addresses, read_host, redirected
from worker.replies import Domain

LIVE, DEMO = Domain.LIVE, Domain.DEMO
SUFFIXES = ("tradovateapi.com", "tradovate.com", "ninjatrader.com", "ninjatrader.dev")
PRODUCTION = Addresses(
    {LIVE: "https://live.tradovateapi.com/v1", DEMO: "https://demo.tradovateapi.com/v1"},
    {LIVE: "wss://live.tradovateapi.com/v1/websocket", DEMO: "wss://demo.tradovateapi.com/v1/websocket"},
    SUFFIXES,
)
SANDBOX = Addresses(
    {LIVE: "http://127.0.0.1:9001/live/v1", DEMO: "http://127.0.0.1:9001/demo/v1"},
    {LIVE: "ws://127.0.0.1:9001/live/v1/websocket", DEMO: "ws://127.0.0.1:9001/demo/v1/websocket"},
    SUFFIXES,
)


def _login(**hosts: Any) -> dict[str, Any]:
    return {"accessToken": "t", "apiHosts": hosts}


def test_a_returned_host_replaces_the_host_of_both_addresses() -> None:
    """Scheme and path stay; the WebSocket of a domain moves with its REST base; the other domain stays."""
    offer = PRODUCTION.offered(_login(live="live.tradovateapi.com", demo="acme-demo.tradovateapi.com"))
    assert PRODUCTION.base(DEMO, offer.hosts[DEMO]) == "https://acme-demo.tradovateapi.com/v1"
    assert PRODUCTION.socket(DEMO, offer.hosts[DEMO]) == "wss://acme-demo.tradovateapi.com/v1/websocket"
    assert PRODUCTION.base(LIVE, offer.hosts[LIVE]) == "https://live.tradovateapi.com/v1"
    assert not offer.ignored


def test_all_keys_that_tradovate_sends_are_understood() -> None:
    """Keys for market data, replay, reports and administrators, and keys yet unknown, change nothing."""
    offer = PRODUCTION.offered(
        _login(
            live="live.tradovateapi.com",
            demo="acme-demo.tradovateapi.com",
            mdLive="md.tradovateapi.com",
            mdDemo="md-demo.tradovateapi.com",
            replay="replay.tradovateapi.com",
            reportingLive="rpt-live.tradovateapi.com",
            reportingDemo="rpt-demo.tradovateapi.com",
            adminLive="admin-live.tradovateapi.com",
            adminDemo="admin-demo.tradovateapi.com",
            mdAdminLive="md-admin-live.tradovateapi.com",
            riskMonitorLive="risk-monitor-api-live.ninjatrader.com",
            userContext="user-context-api.ninjatrader.com",
            yetToCome={"a": [1]},
        )
    )
    assert set(offer.hosts) == {LIVE, DEMO}
    assert not offer.ignored


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {},
        {"apiHosts": None},
        {"apiHosts": {}},
        {"apiHosts": {"live": "", "demo": None}},
        {"apiHosts": {"mdDemo": "md-demo.tradovateapi.com"}},
    ],
)
def test_what_is_missing_changes_nothing(body: Any) -> None:
    """Without the object, without a field, or with an empty one, the last host stays, and nothing is reported."""
    offer = PRODUCTION.offered(body)
    assert (offer.hosts, offer.ignored) == ({}, {})


@pytest.mark.parametrize("value", ["https://evil.example/v1", "demo.tradovateapi.com/v1", "u@demo.tradovateapi.com", 5])
def test_what_is_not_a_bare_host_name_is_ignored_and_reported(value: object) -> None:
    """The field is reported; the other field of the same response is used."""
    offer = PRODUCTION.offered(_login(live="live.tradovateapi.com", demo=value))
    assert set(offer.hosts) == {LIVE}
    assert "not a bare host name" in offer.ignored[DEMO].why


@pytest.mark.parametrize("value", [[], "demo.tradovateapi.com", 5, True])
def test_hosts_that_are_not_an_object_are_ignored_and_reported(value: object) -> None:
    """An `apiHosts` of another kind names no host."""
    offer = PRODUCTION.offered({"apiHosts": value})
    assert (offer.hosts, set(offer.ignored)) == ({}, {LIVE, DEMO})


@pytest.mark.parametrize(
    "value",
    ["evil.example", "eviltradovateapi.com", "tradovateapi.com.evil.example", "tradovateapi.co", "127.0.0.1", "[::1]"],
)
def test_a_host_that_is_not_trusted_is_ignored_and_reported(value: str) -> None:
    """A suffix counts only as a whole name or from a dot on."""
    offer = PRODUCTION.offered(_login(demo=value))
    assert not offer.hosts
    assert offer.ignored[DEMO].value == value
    assert "TRADOVATE_TRUSTED_HOSTS" in offer.ignored[DEMO].why


def test_the_hosts_of_the_settings_are_trusted_on_any_port() -> None:
    """A partner on this machine may move to another port; another machine needs to be named."""
    assert SANDBOX.trusts("127.0.0.1:1")
    assert not SANDBOX.trusts("127.0.0.2:9001")
    assert SANDBOX.base(DEMO, "127.0.0.1:9002") == "http://127.0.0.1:9002/demo/v1"
    assert SANDBOX.socket(DEMO, "127.0.0.1:9002") == "ws://127.0.0.1:9002/demo/v1/websocket"


def test_a_host_without_a_port_is_at_the_default_port() -> None:
    """Only the name that is configured itself keeps the configured port."""
    assert SANDBOX.base(DEMO, "127.0.0.1") == SANDBOX.base(DEMO)
    assert SANDBOX.base(DEMO, "demo.tradovateapi.com") == "http://demo.tradovateapi.com/demo/v1"
    assert PRODUCTION.same(DEMO, "demo.tradovateapi.com:443", None)
    assert not PRODUCTION.same(DEMO, "demo.tradovateapi.com:8443", None)


def test_hosts_are_not_followed_when_the_settings_say_so() -> None:
    """TRADOVATE_FOLLOW_HOSTS=off: whatever is returned, nothing is used and nothing is reported."""
    fixed = Addresses(PRODUCTION.rest, PRODUCTION.sockets, SUFFIXES, follow=False)
    offer = fixed.offered(_login(live="https://evil.example", demo="acme-demo.tradovateapi.com"))
    assert (offer.hosts, offer.ignored) == ({}, {})


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("Demo.TradovateAPI.com", "demo.tradovateapi.com"),
        ("demo.tradovateapi.com.", "demo.tradovateapi.com"),
        ("demo.tradovateapi.com.:8443", "demo.tradovateapi.com:8443"),
        ("demo.tradovateapi.com:0443", "demo.tradovateapi.com:443"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("[::1]:8080", "[::1]:8080"),
        ("[0:0::1]", "[::1]"),
        ("127.0.0.1:65535", "127.0.0.1:65535"),
        ("a" * 63, "a" * 63),
        (".".join(["a" * 31, "b" * 32]), ".".join(["a" * 31, "b" * 32])),
        (".".join(["a" * 32, "b" * 32]), None),  # 65 characters
        ("a" * 64, None),  # a label has at most 63
        ("bücher.example", None),
        ("demo.tradovateapi.com\n", None),
        (" demo.tradovateapi.com", None),
        ("demo..tradovateapi.com", None),
        (".tradovateapi.com", None),
        ("-demo.tradovateapi.com", None),
        ("demo.tradovateapi.com:0", None),
        ("demo.tradovateapi.com:65536", None),
        ("demo.tradovateapi.com:١", None),
        ("demo.tradovateapi.com:", None),
        ("//demo.tradovateapi.com", None),
        ("demo.tradovateapi.com?x", None),
        ("demo.tradovateapi.com#x", None),
        ("demo.tradovateapi.com\\@evil.example", None),
        ("::1", None),
        ("[::1", None),
        ("[::g]", None),
        ("", None),
        (".", None),
        (None, None),
        (b"demo.tradovateapi.com", None),
        (True, None),
    ],
)
def test_how_a_host_is_read(value: object, host: str | None) -> None:
    """In lower case, without a trailing dot, with a port from 1 to 65535; only a bare ASCII host is read."""
    assert read_host(value) == host


@given(st.text() | st.none() | st.integers() | st.binary())
def test_reading_a_host_never_fails_and_is_stable(value: object) -> None:
    """Whatever comes, the host is None or one that is read as itself and is the whole authority of its address."""
    host = read_host(value)
    if host is None:
        return
    assert read_host(host) == host
    for domain in Domain:
        for url in (PRODUCTION.base(domain, host), PRODUCTION.socket(domain, host)):
            parts = urlsplit(url)
            assert (parts.scheme, parts.path) in {("https", "/v1"), ("wss", "/v1/websocket")}
            assert not parts.username
            assert parts.query == parts.fragment == ""
            assert read_host(parts.netloc) == parts.netloc


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["demo.tradovateapi.com", "a.b:1"]),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["apiHosts", "live", "demo", "x"]), inner),
    )
)
def test_only_trusted_hosts_are_offered(body: Any) -> None:
    """Whatever a response holds, reading it never fails, and each host that comes out of it is trusted."""
    offer = PRODUCTION.offered(body)
    assert all(PRODUCTION.trusts(host) for host in offer.hosts.values())
    assert all(each.value.isprintable() and each.value.isascii() for each in offer.ignored.values())
    assert not set(offer.hosts) & set(offer.ignored)


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://acme-demo.tradovateapi.com/v1/account/list", "acme-demo.tradovateapi.com"),
        ("https://Acme-Demo.tradovateapi.com/v1/account/LIST?x=1", "acme-demo.tradovateapi.com"),
        ("https://acme-demo.tradovateapi.com:8443/v1/account/list", "acme-demo.tradovateapi.com:8443"),
        ("//acme-demo.tradovateapi.com/v1/account/list", "acme-demo.tradovateapi.com"),
        ("/v1/account/list", "demo.tradovateapi.com"),
        ("https://acme-demo.tradovateapi.com/", None),
        ("https://acme-demo.tradovateapi.com/v2/account/list", None),
        ("http://acme-demo.tradovateapi.com/v1/account/list", None),
        ("https://u:p@acme-demo.tradovateapi.com/v1/account/list", None),
        ("https://[::1/v1/account/list", None),
        ("", "demo.tradovateapi.com"),
        (None, None),
        ("https://" + "a" * 9000, None),
    ],
)
def test_where_a_redirect_leads(location: str | None, host: str | None) -> None:
    """It leads to the host of its location, if scheme and path are those of the call."""
    assert redirected("https://demo.tradovateapi.com/v1/account/list?name=jane", location) == host


@given(st.text())
def test_reading_a_redirect_never_fails(location: str) -> None:
    """Whatever a location says, it is a bare host or nothing."""
    host = redirected("https://demo.tradovateapi.com/v1/account/list", location)
    assert host is None or read_host(host) == host


def test_what_is_ignored_is_shown_without_control_characters() -> None:
    """A value that is shown to an operator cannot change their terminal, and is short."""
    offer = PRODUCTION.offered(_login(demo="\x1b[31m" + "x" * 500))
    assert offer.ignored[DEMO].value == "?[31m" + "x" * 95


def test_a_configured_name_is_compared_as_it_is_called() -> None:
    """Upper case, a trailing dot and a long form of an IPv6 address in the settings make no other host."""
    addresses = Addresses({LIVE: "https://LIVE.example./v1"}, {LIVE: "wss://[0::1]:1/v1/websocket"})
    assert addresses.trusts("live.example:8443")
    assert addresses.trusts("[::1]")
    assert addresses.base(LIVE, "live.example") == "https://LIVE.example./v1"


def test_a_host_is_shown_with_its_port() -> None:
    """As it stands in the address, without scheme and path."""
    addresses = Addresses({LIVE: "http://gate:81/v1", DEMO: "http://gate/v1"}, {})
    assert addresses.shown(LIVE) == "gate:81"
    assert addresses.shown(DEMO, "other:82") == "other:82"
