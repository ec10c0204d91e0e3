"""Where the calls go, how they leave, and how long the password lasts: from the settings and the shared session."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from schemas.times import Clock, utc_text
from worker.ledger.state_summary import Standing
from worker.operate.doctor.findings import Finding, failed, ok, warning
from worker.session import SessionKeeper
from worker.settings import RunSettings

ENDS_SOON = 14.0
"""Days before the password's end from which on doctor warns: a change of password takes a release window."""

_DAY = 86_400


def places(settings: RunSettings, session: SessionKeeper, seen: Standing, clock: Clock = utc_text) -> Iterator[Finding]:
    """The hosts of both domains, the proxy and the trust, the password."""
    for each in session.in_use(seen.hosts):
        check = f"{each.domain.value} host"
        text = f"{each.rest}, WebSocket {each.socket} (from: {each.source.value})"
        if each.trouble is not None:
            trouble = f"{text}; {each.trouble}"
            fix = "correct TRADOVATE_LIVE_URL and TRADOVATE_DEMO_URL, or add the right host to TRADOVATE_TRUSTED_HOSTS"
            yield failed(check, trouble, fix) if each.held else warning(check, trouble, fix)
        elif each.ignored is not None:
            fix = "add it to TRADOVATE_TRUSTED_HOSTS if it is Tradovate's, else ask Tradovate"
            yield warning(check, f"{text}; {each.ignored}", fix)
        else:
            yield ok(check, text)
    yield _egress(settings)
    yield _password(seen, clock)


def _egress(settings: RunSettings) -> Finding:
    proxy = settings.tradovate_proxy_url
    way = "no proxy"
    if proxy is not None:
        address = urlsplit(proxy.get_secret_value())
        way = f"through the proxy {address.scheme}://{address.netloc.rpartition('@')[2]}"
    trust = "the certificate authorities of this machine"
    if settings.tradovate_ca_file is not None:
        trust += f" and those of {settings.tradovate_ca_file}"
    return ok("way out", f"{way}; trusted are {trust}")


def _password(seen: Standing, clock: Clock) -> Finding:
    if seen.password_until is None:
        return ok("password", "it has no end that Tradovate names")
    days = seen.password_seconds / _DAY
    fix = "set another one at Tradovate, then TRADOVATE_PASSWORD on all replicas"
    if days <= 0:
        return failed("password", f"it ended on {clock(seen.password_until)}", fix)
    text = f"it ends on {clock(seen.password_until)}, in {days:.1f} days"
    return warning("password", text, fix) if days < ENDS_SOON else ok("password", text)
