"""Which of Tradovate's hosts are called: what login, renewal and a redirect change in the addresses of the settings.

Pure. Login and renewal return the hosts of the organization as bare names (`apiHosts`, vendor page "Dynamic API
hosts"). A returned host takes the place of the host and port of a configured address; scheme and path stay. Only a
trusted host is ever called, for a host that is called receives the token.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from worker.replies import Domain

__all__ = ["Addresses", "Ignored", "ReturnedHosts", "Source", "host_of", "read_host", "redirected"]

NAME_LIMIT = 64
"""Characters of a host name without its port: the longest that the vendor's schema allows."""

SHOWN = 100
"""Characters of a value that is not used, for log and `doctor`: enough to recognize it."""

_LOCATION_LIMIT = 8_192
"""Characters of a `Location` header; a longer one is no address of Tradovate's."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class Source(StrEnum):
    """Where the host of a domain comes from."""

    SETTINGS = "settings"
    LOGIN = "login"
    RENEWAL = "renewal"
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True)
class Ignored:
    """A value that is not used. `value` is printable and short."""

    value: str
    why: str


@dataclass(frozen=True, slots=True)
class ReturnedHosts:
    """What one response says about hosts. A domain in neither of the two was not mentioned: it stays as it is."""

    hosts: Mapping[Domain, str] = field(default_factory=dict)
    ignored: Mapping[Domain, Ignored] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of the settings, and which hosts may take the place of theirs.

    `trusted` are suffixes: a host is trusted if it is one of them or a subdomain. The hosts of the addresses
    themselves are trusted on any port. Not `follow`: no returned host is used.
    """

    rest: Mapping[Domain, str]
    sockets: Mapping[Domain, str]
    trusted: tuple[str, ...] = ()
    follow: bool = True

    def base(self, domain: Domain, host: str | None = None) -> str:
        """The REST base of a domain at `host`; None: as configured."""
        return _at(self.rest[domain], host)

    def socket(self, domain: Domain, host: str | None = None) -> str:
        """The WebSocket address of a domain at `host`; None: as configured."""
        return _at(self.sockets[domain], host)

    def shown(self, domain: Domain, host: str | None = None) -> str:
        """The host and port of a domain's REST base, for people."""
        return host_of(self.base(domain, host))

    def same(self, domain: Domain, one: str | None, other: str | None) -> bool:
        """Whether two hosts are the same place: a default port, or the name that is configured, changes nothing."""
        return self.base(domain, one) == self.base(domain, other)

    def trusts(self, host: str) -> bool:
        """Whether `host` (of `read_host`) may receive the token."""
        name, _ = _parts(host)
        if any(name == suffix or name.endswith(f".{suffix}") for suffix in self.trusted):
            return True
        return any(name == _name(urlsplit(url)) for url in (*self.rest.values(), *self.sockets.values()))

    def offered(self, body: Any) -> ReturnedHosts:
        """The hosts that the response to a login or renewal names for LIVE and DEMO.

        A missing, empty or null field says nothing. All other keys (market data, replay, reports, those of
        administrators, and keys that are yet to come) concern addresses that this worker does not use.
        """
        hosts = body.get("apiHosts") if isinstance(body, dict) else None
        if hosts is None or not self.follow:
            return ReturnedHosts()
        if not isinstance(hosts, dict):
            return ReturnedHosts(ignored=dict.fromkeys(Domain, Ignored(_shown(hosts), "apiHosts is not an object")))
        used: dict[Domain, str] = {}
        ignored: dict[Domain, Ignored] = {}
        for domain in Domain:
            value = hosts.get(domain.value)
            if value is None or value == "":
                continue
            host = read_host(value)
            if host is None:
                ignored[domain] = Ignored(_shown(value), "it is not a bare host name")
            elif not self.trusts(host):
                ignored[domain] = Ignored(_shown(value), "it is not in TRADOVATE_TRUSTED_HOSTS")
            else:
                used[domain] = host
        return ReturnedHosts(used, ignored)


def host_of(address: str) -> str:
    """The host of an address, with its port."""
    return urlsplit(address).netloc


def read_host(value: object) -> str | None:
    """A returned value as `name` or `name:port`, in lower case and without a trailing dot; None: it cannot be used.

    Names with other than ASCII letters are not used: Tradovate has none, and such a name may only look like a trusted
    one. An IPv6 address stands in brackets, as in any address.
    """
    if not isinstance(value, str) or not (found := _HOST.fullmatch(value.lower())):
        return None
    name, port = found["name"].removesuffix("."), found["port"]
    if name.startswith("["):
        try:
            name = f"[{ipaddress.IPv6Address(name[1:-1])}]"
        except ValueError:
            return None
    elif not _NAME.fullmatch(name):
        return None
    if len(name) > NAME_LIMIT or (port is not None and not 0 < int(port) < 65_536):
        return None
    return name if port is None else f"{name}:{int(port)}"


def redirected(url: str, location: str | None) -> str | None:
    """The host that a redirect leads to, if it is the same scheme and path on another host; None: nothing to follow.

    Only the host is kept of a `Location`: its query may name a trader.
    """
    if location is None or len(location) > _LOCATION_LIMIT:
        return None
    try:
        came, goes = urlsplit(url), urlsplit(urljoin(url, location))
        host = read_host(goes.netloc)  # with a user or password in front it is not a bare host
    except ValueError:
        return None
    if host is None or goes.scheme.lower() != came.scheme.lower() or goes.path.lower() != came.path.lower():
        return None
    return host


def _at(url: str, host: str | None) -> str:
    if host is None:
        return url
    address = urlsplit(url)
    name, port = _parts(host)
    if port is None and name == _name(address):
        return url  # the name that is configured already, which says nothing about the configured port
    if port is None or port == _DEFAULT_PORTS.get(address.scheme):
        return address._replace(netloc=name).geturl()
    return address._replace(netloc=f"{name}:{port}").geturl()


def _parts(host: str) -> tuple[str, int | None]:
    found = _HOST.fullmatch(host)
    assert found is not None, "a host of read_host"
    return found["name"], int(found["port"]) if found["port"] else None


def _name(address: SplitResult) -> str:
    """The host name of a configured address as `read_host` writes it."""
    name = (address.hostname or "").removesuffix(".")
    return f"[{ipaddress.IPv6Address(name)}]" if ":" in name else name


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return f"a value of type {type(value).__name__}"
    return "".join(each if each.isprintable() and each.isascii() else "?" for each in value[:SHOWN])
