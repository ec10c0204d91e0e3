"""Whose request it is, as far as trusted proxies say so."""

from __future__ import annotations

import pytest

from worker.addresses import networks
from worker.telemetry.proxies import client_of

TRUSTED = networks("10.0.0.0/8,::1")


@pytest.mark.parametrize(
    ("peer", "addresses", "schemes", "client"),
    [
        ("192.0.2.7", [], [], ("192.0.2.7", None)),
        ("192.0.2.7", ["198.51.100.1"], ["https"], ("192.0.2.7", None)),
        ("10.0.0.1", ["198.51.100.1"], ["https"], ("198.51.100.1", "https")),
        ("10.0.0.1", ["198.51.100.1"], ["HTTPS"], ("198.51.100.1", "https")),
        ("10.0.0.1", ["198.51.100.1"], ["gopher"], ("198.51.100.1", None)),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], ["https"], ("198.51.100.1", "https")),
        ("10.0.0.1", ["198.51.100.1", "10.2.2.2"], ["https", "http"], ("198.51.100.1", "https")),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], ["https", "http"], ("198.51.100.1", "http")),
        ("10.0.0.1", ["10.3.3.3", "10.2.2.2"], ["https"], ("10.3.3.3", "https")),
        ("10.0.0.1", ["unknown"], ["https"], ("10.0.0.1", "https")),
        ("10.0.0.1", ["1.1.1.1", "", "10.2.2.2"], [], ("10.2.2.2", None)),
        ("10.0.0.1", [], ["https"], ("10.0.0.1", "https")),
        ("10.0.0.1", ["198.51.100.1:4711"], [], ("198.51.100.1", None)),
        ("::1", ["[2001:db8::7]:4711"], [], ("2001:db8::7", None)),
        ("::ffff:10.0.0.1", ["2001:db8::7"], ["https"], ("2001:db8::7", "https")),
        ("testclient", ["198.51.100.1"], ["https"], ("testclient", None)),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    peer: str, addresses: list[str], schemes: list[str], client: tuple[str, str | None]
) -> None:
    """Only a trusted proxy is believed, and only about the address that it was called from."""
    assert client_of(peer, addresses, schemes, TRUSTED) == client
