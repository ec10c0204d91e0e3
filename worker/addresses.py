"""Addresses that settings take, read strictly: what can be read in two ways is refused.

A password with an unescaped `#`, `@`, `/` or `?` makes an address that the libraries read as one of another host, and
they then wait for that host. Pure; every refusal is a bare `ValueError`, so that no message can carry a part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from urllib.parse import unquote

__all__ = [
    "DatabaseAddress",
    "Network",
    "broker_addresses",
    "database_address",
    "http_address",
    "listening_host",
    "networks",
    "proxy_address",
]

Network = IPv4Network | IPv6Network

# RFC 3986. What a user name, a password or a database has besides these must be percent-encoded.
_ENCODED = r"%[0-9A-Fa-f]{2}"
_PLAIN = r"A-Za-z0-9._~!$&'()*+,;=\-"
_WORD = rf"(?:[{_PLAIN}]|{_ENCODED})*"
_HOST = r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])"  # `_host` reads it
_PORT = r"[0-9]{1,5}"

_DATABASE = re.compile(
    rf"postgres(?:ql)?://(?:(?P<user>{_WORD})(?::(?P<password>(?:[{_PLAIN}:]|{_ENCODED})*))?@)?"
    rf"(?P<hosts>[^/?#@]*)(?:/(?P<database>{_WORD}))?(?:\?(?P<query>(?:[{_PLAIN}:/]|{_ENCODED})*))?"
)
_SERVER = re.compile(rf"(?P<host>{_HOST}|%2[Ff](?:[A-Za-z0-9._-]|{_ENCODED})*)(?::(?P<port>{_PORT}))?")
_HTTP = re.compile(rf"(?P<scheme>[a-z]+)://(?P<host>{_HOST})(?::(?P<port>{_PORT}))?(?:/(?:[{_PLAIN}:@/]|{_ENCODED})*)?")
_PROXY = re.compile(
    rf"https?://(?:(?:[{_PLAIN}]|{_ENCODED})+(?::(?:[{_PLAIN}:]|{_ENCODED})*)?@)?(?P<host>{_HOST})(?::(?P<port>{_PORT}))?/?"
)

_BROKER = re.compile(rf"(?P<host>{_HOST}):(?P<port>{_PORT})")

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_NUMBERS = re.compile(r"[0-9.]*\.[0-9]+\.?")
_NAME_LIMIT = 253
"""Characters of a host name, RFC 1035. A name with a longer or an empty label makes Python's own sockets fail."""

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """What a postgresql:// address says. `hosts`: names, addresses or directories of sockets, each with its port;
    none when the driver's own defaults apply.
    """

    hosts: tuple[tuple[str, int], ...]
    user: str | None
    password: str | None
    database: str | None
    parameters: dict[str, str]

    def __repr__(self) -> str:
        """The address may hold a password."""
        return "DatabaseAddress(...)"


def database_address(url: str) -> DatabaseAddress:
    """Reads a postgresql:// address, as the driver does. Raises a bare `ValueError`."""
    found = _DATABASE.fullmatch(url)
    if found is None:
        raise ValueError
    parameters = dict(_parameter(each) for each in (found["query"] or "").split("&") if each)
    if parameters.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError
    hosts = found["hosts"] or parameters.get("host", "")
    ports = [_port(each) for each in parameters["port"].split(",")] if "port" in parameters else []
    named = [_server(each) for each in hosts.split(",")] if hosts else []
    if len(ports) > 1 and len(ports) != max(1, len(named)):
        raise ValueError
    common = (ports * max(1, len(named)))[: len(named)] if len(ports) == 1 else ports
    return DatabaseAddress(
        tuple((host, port or (common[at] if common else 5432)) for at, (host, port) in enumerate(named)),
        _text(found["user"]) or parameters.get("user"),
        _text(found["password"]) or parameters.get("password"),
        _text(found["database"]) or parameters.get("dbname") or parameters.get("database"),
        parameters,
    )


def http_address(address: str, *schemes: str) -> str:
    """An address of one of `schemes` with nothing but host, port and path; without slashes at its end.

    Raises a bare `ValueError`.
    """
    found = _HTTP.fullmatch(address)
    if found is None or found["scheme"] not in schemes:
        raise ValueError
    _host(found["host"])
    if found["port"] is not None:
        _port(found["port"])
    return address.rstrip("/")


def proxy_address(address: str) -> str:
    """The address of an HTTP proxy, perhaps with user and password; without a slash at its end.

    Raises a bare `ValueError`.
    """
    found = _PROXY.fullmatch(address)
    if found is None:
        raise ValueError
    _host(found["host"])
    if found["port"] is not None:
        _port(found["port"])
    return address.rstrip("/")


def broker_addresses(text: str) -> tuple[str, ...]:
    """The host:port of each broker, separated by commas. Raises a bare `ValueError`."""
    brokers = tuple(each.strip() for each in text.split(","))
    for broker in brokers:
        found = _BROKER.fullmatch(broker)
        if found is None:
            raise ValueError
        _host(found["host"])
        _port(found["port"])
    return brokers


def listening_host(text: str) -> str:
    """A name or address of this machine, an IPv6 address without brackets. Raises a bare `ValueError`."""
    _host(f"[{text}]" if ":" in text else text)
    return text


def _server(text: str) -> tuple[str, int | None]:
    if text.startswith("/"):  # the directory of a socket, in the query
        return text, None
    found = _SERVER.fullmatch(text)
    if found is None:
        raise ValueError
    host = unquote(found["host"])
    return host if host.startswith("/") else _host(host), _port(found["port"]) if found["port"] else None


def _host(text: str) -> str:
    """A name, or an address without its brackets. One of digits and dots is an IPv4 address of four numbers: what else
    it might be is read in several ways.
    """
    bare = text[1:-1] if text.startswith("[") else text
    if bare == text and not _NUMBERS.fullmatch(bare):
        if len(bare) > _NAME_LIMIT or not _NAME.fullmatch(bare):
            raise ValueError
        return bare
    try:
        (IPv4Address if bare == text else IPv6Address)(bare)
    except ValueError:
        raise ValueError from None
    return bare


def _port(text: str) -> int:
    if not re.fullmatch(_PORT, text) or not 0 < int(text) < 65_536:
        raise ValueError
    return int(text)


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (re.fullmatch(r"[a-z_][a-z0-9_.]*", name) and equals and value):
        raise ValueError
    return name, unquote(value.replace("+", " "))


def _text(encoded: str | None) -> str | None:
    return unquote(encoded) if encoded else None


def networks(value: str) -> tuple[Network, ...]:
    """Reads addresses and networks, separated by commas; an address is a network of one. Raises a bare `ValueError`,
    also for a network with bits of a host (`10.0.0.1/8`): it is unclear whether one address is meant, or all of them.

    An IPv4 address or network that is written as IPv6 (`::ffff:10.0.0.1`) is what it means: so are clients read.
    """
    try:
        return tuple(_unmapped(ip_network(each.strip())) for each in value.split(","))
    except ValueError:
        raise ValueError from None


def _unmapped(network: Network) -> Network:
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED))


_MAPPED = 96
"""Bits before the IPv4 address, RFC 4291."""
