"""The forms that settings take: a type with its check, the form shown to an operator, and an example of it.

Checks raise a bare `ValueError`: the message is made from the `ValueForm`, so no message can carry the value.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from worker.addresses import (
    broker_addresses,
    database_address,
    http_address,
    listening_host,
    networks,
    proxy_address,
)
from worker.partner.hosts import read_host

MIN_SECRET_KEY = 32
"""Characters of one `SECRET_KEY`: 32 random ones are more than any key derived from it."""

MIN_CONSOLE_TOKEN = 16
"""Characters of `CONSOLE_TOKEN`: with ten tries a minute, guessing one takes longer than a life."""


@dataclass(frozen=True, slots=True)
class ValueForm:
    """How the right value of a setting looks, for the operator who typed a wrong one or none."""

    form: str
    example: str


def _address(*schemes: str) -> Callable[[str], str]:
    return lambda value: http_address(value, *schemes)


def _rest_base(value: str) -> str:
    base = _address("http", "https")(value)
    if not urlsplit(base).path.endswith("/v1"):
        raise ValueError
    return base


def _servers(value: str) -> str:
    return ",".join(broker_addresses(value))


def _trusted_hosts(value: str) -> str:
    hosts = [read_host(host.strip()) for host in value.split(",")]
    if any(host is None or ":" in host for host in hosts):
        raise ValueError
    return ",".join(host for host in hosts if host is not None)


def _networks(value: str) -> str:
    return ",".join(str(network) for network in networks(value))


def _proxy_url(value: SecretStr) -> SecretStr:
    return SecretStr(proxy_address(value.get_secret_value()))


def _authorities(value: Path) -> Path:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(_readable(value))
    except OSError:  # `ssl.SSLError` is one
        raise ValueError from None
    return value


def _database_url(value: SecretStr) -> SecretStr:
    database_address(value.get_secret_value())
    return value


def _readable(value: Path) -> Path:
    try:
        readable = value.is_file() and os.access(value, os.R_OK)
    except OSError:  # a path that is too long (perhaps the file's own text), or that leads where we may not go
        readable = False
    if not readable:
        raise ValueError
    return value


def _time_of_day(value: Any) -> Any:
    if isinstance(value, str):
        if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):  # pydantic would take "17" for 17 seconds
            raise ValueError
        return time.fromisoformat(value)
    return value


def _switch(value: Any) -> Any:
    if isinstance(value, str):
        if value.lower() not in ("on", "off"):  # pydantic would take "t", "y" and "1" as well
            raise ValueError
        return value.lower() == "on"
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _number_if_it_is_one(value: Any) -> Any:
    # The vendor's schema says string, every example of theirs sends a number: digits become a number.
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value) else value


def split_keys(value: SecretStr) -> tuple[SecretStr, ...]:
    """The keys of `SECRET_KEY`, the writing one first."""
    return tuple(SecretStr(key.strip()) for key in value.get_secret_value().split(","))


def _long_keys(value: SecretStr) -> SecretStr:
    if any(len(key) < MIN_SECRET_KEY for key in split_keys(value)):
        raise ValueError
    return value


_YEARS = 10 * 366 * 86_400
"""Seconds. Longer than any wait, and short enough that a time so far ahead can be represented."""

Seconds = Annotated[
    float,
    Field(ge=0, le=_YEARS, allow_inf_nan=False),
    ValueForm("a number of seconds, 0 or more, at most ten years", "60"),
]
Timeout = Annotated[
    float,
    Field(gt=0, le=86_400, allow_inf_nan=False),
    ValueForm("a number of seconds, more than 0, at most a day", "60"),
]
SessionTimeout = Annotated[
    float,
    Field(ge=1, le=300, allow_inf_nan=False),
    ValueForm("a number of seconds, 1 to 300, within the limits of the broker (6 or more by default)", "10"),
]
Milliseconds = Annotated[
    float,
    Field(ge=0, le=86_400_000, allow_inf_nan=False),
    ValueForm("a number of milliseconds, 0 or more, at most a day", "5"),
]
Count = Annotated[int, Field(ge=1, le=1_000_000), ValueForm("a whole number, 1 to 1000000", "12")]
Replication = Annotated[
    int, Field(ge=1, le=1_000), ValueForm("a whole number, 1 or more, at most that of brokers", "3")
]
Partitions = Annotated[int, Field(ge=1, le=10_000), ValueForm("a whole number, 1 to 10000", "12")]
Hours = Annotated[
    int, Field(ge=1, le=876_000), ValueForm("a whole number of hours, 1 or more, at most a century", "168")
]
Days = Annotated[int, Field(ge=1, le=36_500), ValueForm("a whole number of days, 1 or more, at most a century", "400")]
Port = Annotated[int, Field(ge=0, le=65535), ValueForm("a port, 0 to 65535; 0 takes a free one", "8000")]
VendorId = Annotated[int, Field(ge=1, lt=2**63), ValueForm("Tradovate's id of it, a whole number", "12")]
Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
File = Annotated[Path, AfterValidator(_readable), ValueForm("the path of a file that can be read", "/etc/ssl/ca.pem")]
Catalogue = Annotated[
    Path,
    AfterValidator(_readable),
    ValueForm("the path of a TOML file that can be read", "/etc/tradovate/products.toml"),
]
ListeningHost = Annotated[
    str, AfterValidator(listening_host), ValueForm("a host name or address of this machine", "127.0.0.1")
]
Lower = BeforeValidator(_lower)
Upper = BeforeValidator(_upper)
Switch = Annotated[bool, BeforeValidator(_switch), ValueForm("on or off", "on")]
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day), ValueForm("a time of day, HH:MM", "17:15")]
Servers = Annotated[
    str,
    AfterValidator(_servers),
    ValueForm("host:port with a port from 1 to 65535, several separated by commas", "kafka-1:9092,kafka-2:9092"),
]
TopicPrefix = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9._-]{0,100}$"),
    ValueForm("letters, digits, dots, dashes and underscores, at most 100", "prod."),
]
ClientId = Annotated[int | str, BeforeValidator(_number_if_it_is_one), ValueForm("the id of the API key", "1234")]
RestBase = Annotated[
    str,
    AfterValidator(_rest_base),
    ValueForm("an http:// or https:// address that ends in /v1", "https://live.tradovateapi.com/v1"),
]
WsAddress = Annotated[
    str,
    AfterValidator(_address("ws", "wss")),
    ValueForm("a ws:// or wss:// address", "wss://live.tradovateapi.com/v1/websocket"),
]
TrustedHosts = Annotated[
    str,
    AfterValidator(_trusted_hosts),
    ValueForm(
        "host names without port, several separated by commas; their subdomains are trusted as well",
        "tradovateapi.com,ninjatrader.com",
    ),
]
Networks = Annotated[
    str,
    AfterValidator(_networks),
    ValueForm("IP addresses or networks, several separated by commas", "10.0.0.0/8,::1"),
]
HttpAddress = Annotated[
    str, AfterValidator(_address("http", "https")), ValueForm("an http:// or https:// address", "http://collector:4318")
]
ProxyUrl = Annotated[
    SecretStr,
    AfterValidator(_proxy_url),
    ValueForm(
        "an http:// or https:// address with host and port; user and password percent-encoded",
        "http://user:password@proxy.example.com:3128",
    ),
]
CaFile = Annotated[
    Path,
    AfterValidator(_authorities),
    ValueForm("the path of a PEM file with the certificates of your authorities", "/etc/ssl/firm-ca.pem"),
]
DatabaseUrl = Annotated[
    SecretStr,
    AfterValidator(_database_url),
    ValueForm(
        "a postgresql:// address; in user and password, # @ / ? and % are written as %23 %40 %2F %3F and %25",
        "postgresql://user:password@db.example.com/tradovate_worker",
    ),
]
SecretKeys = Annotated[
    SecretStr,
    AfterValidator(_long_keys),
    ValueForm(
        f"a text of {MIN_SECRET_KEY} characters or more, several separated by commas",
        "<the output of `openssl rand -hex 32`>",
    ),
]
ConsoleToken = Annotated[
    SecretStr,
    Field(min_length=MIN_CONSOLE_TOKEN),
    ValueForm(f"a text of {MIN_CONSOLE_TOKEN} characters or more", "<the output of `openssl rand -hex 16`>"),
]
AccountPrefix = Annotated[
    # An account name has at most 64 characters, and a derived one ends in up to 20 digits.
    str,
    Field(pattern=r"^[A-Z]{1,44}$"),
    ValueForm("capital letters only, at most 44", "EVAL"),
]
