"""The settings of where Tradovate is, whom to trust, and how calls leave."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from tests.support.doors import private_ca
from tests.unit.test_settings import API_USER, COMPLETE
from worker.partner.lockout import LockOut
from worker.process.starting import partner_client, partner_egress
from worker.replies import Domain
from worker.settings import RunSettings, SettingsError, TradovateSettings, load


def test_hosts_are_followed_unless_the_settings_say_otherwise() -> None:
    """By default Tradovate's four domains are trusted, no proxy is used, and no CA but those of the machine."""
    found = load(TradovateSettings, API_USER)
    assert found.tradovate_follow_hosts is True
    assert found.trusted_hosts == ("tradovateapi.com", "tradovate.com", "ninjatrader.com", "ninjatrader.dev")
    assert (found.tradovate_proxy_url, found.tradovate_ca_file) == (None, None)
    assert load(TradovateSettings, {**API_USER, "TRADOVATE_FOLLOW_HOSTS": "off"}).tradovate_follow_hosts is False


@pytest.mark.parametrize(
    ("value", "trusted"),
    [
        ("tradovateapi.com", ("tradovateapi.com",)),
        ("Tradovateapi.COM, gate.acme.example.", ("tradovateapi.com", "gate.acme.example")),
        ("10.1.2.3", ("10.1.2.3",)),
        ("gateway", ("gateway",)),
    ],
)
def test_trusted_hosts_are_names_separated_by_commas(value: str, trusted: tuple[str, ...]) -> None:
    """In either case of letters, with spaces or without."""
    assert load(TradovateSettings, {**API_USER, "TRADOVATE_TRUSTED_HOSTS": value}).trusted_hosts == trusted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRADOVATE_FOLLOW_HOSTS", "true"),
        ("TRADOVATE_TRUSTED_HOSTS", "https://tradovateapi.com"),
        ("TRADOVATE_TRUSTED_HOSTS", "*.tradovateapi.com"),
        ("TRADOVATE_TRUSTED_HOSTS", "tradovateapi.com:443"),
        ("TRADOVATE_TRUSTED_HOSTS", "tradovateapi.com,"),
        ("TRADOVATE_TRUSTED_HOSTS", "tradovateapi.com tradovate.com"),
        ("TRADOVATE_PROXY_URL", "proxy.example.com:3128"),
        ("TRADOVATE_PROXY_URL", "socks5://proxy.example.com:1080"),
        ("TRADOVATE_PROXY_URL", "http://user:hunter2#@proxy.example.com:3128"),
        ("TRADOVATE_PROXY_URL", "http://user:hunter2@x@proxy.example.com:3128"),
        ("TRADOVATE_PROXY_URL", "http://proxy.example.com:99999"),
        ("TRADOVATE_PROXY_URL", "http://proxy.example.com:3128/path"),
        ("TRADOVATE_CA_FILE", "/no/such/ca.pem"),
    ],
)
def test_a_wrong_value_is_named_and_not_repeated(name: str, value: str) -> None:
    """The message has the setting's name, its form and an example, and no part of the value."""
    with pytest.raises(SettingsError) as caught:
        load(RunSettings, {**COMPLETE, name: value})
    (problem,) = caught.value.problems
    assert problem.name == name
    text = "".join(traceback.format_exception(caught.value)).replace(problem.form, "").replace(problem.example, "")
    assert value not in text
    assert "hunter2" not in text


def test_a_file_without_certificates_is_no_ca_file(tmp_path: Path) -> None:
    """It is found out before the start, not at the first call."""
    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate\n")
    with pytest.raises(SettingsError, match="TRADOVATE_CA_FILE"):
        load(RunSettings, {**COMPLETE, "TRADOVATE_CA_FILE": str(wrong)})


async def test_the_client_is_made_of_the_settings(tmp_path: Path) -> None:
    """Addresses, trust, proxy and CA reach the calls; the proxy's password is shown nowhere."""
    ca = private_ca(tmp_path)
    found = load(
        RunSettings,
        {
            **COMPLETE,
            "TRADOVATE_DEMO_WS_URL": "wss://sockets.acme.example/v1/websocket",
            "TRADOVATE_TRUSTED_HOSTS": "acme.example",
            "TRADOVATE_PROXY_URL": "http://user:hunter%402@proxy.example.com:3128/",
            "TRADOVATE_CA_FILE": str(ca.file),
        },
    )
    egress = partner_egress(found)
    assert egress.proxy == "http://user:hunter%402@proxy.example.com:3128"
    client = partner_client(found, LockOut(found.lockout), egress)
    places = client.addresses
    assert places.socket(Domain.DEMO, "new.acme.example") == "wss://new.acme.example/v1/websocket"
    assert places.base(Domain.DEMO, "new.acme.example") == "https://new.acme.example/v1"
    assert places.trusts("sub.acme.example")
    assert not places.trusts("demo.tradovateapi.com")
    assert "hunter" not in repr(found) + str(found) + repr(egress) + repr(client)
    await client.aclose()
