"""Addresses in settings: read as they are meant, or refused."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

import pytest
from asyncpg import connect_utils
from hypothesis import given
from hypothesis import strategies as st

from worker.addresses import database_address, http_address
from worker.settings import BridgeSettings, DatabaseSettings, KafkaSettings, SettingsError, load

_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
_PUNCTUATED = st.text("ab1:/?#[]@!$&'()*+,;=%. ", min_size=1, max_size=12)
_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9](\.[a-z0-9]{1,5})?", fullmatch=True)


def drivers_view(url: str) -> tuple[list[tuple[str, int] | str], str | None, str | None, str | None]:
    """Addresses, user, password and database as the driver itself reads them."""
    nothing = dict.fromkeys(
        ("host", "port", "user", "password", "passfile", "service", "servicefile", "database", "ssl", "direct_tls",
         "server_settings", "target_session_attrs", "krbsrvname", "gsslib")
    )  # fmt: skip
    hosts, found = vars(connect_utils)["_parse_connect_dsn_and_args"](dsn=url, **nothing)
    return list(hosts), found.user, found.password, found.database


@given(_NAMES, _PUNCTUATED | _TEXTS, _NAMES, st.integers(1, 65_535), _NAMES)
def test_a_password_as_it_is_changes_no_host(user: str, password: str, host: str, port: int, database: str) -> None:
    """An address with any unescaped password is refused, or read with exactly that password, host and database."""
    with suppress(ValueError):
        found = database_address(f"postgresql://{user}:{password}@{host}:{port}/{database}")
        assert (found.hosts, found.user, found.database) == (((host, port),), user, database)
        assert found.password == password or "%" in password  # what looks encoded is decoded


@given(_TEXTS, _TEXTS, _NAMES, st.integers(1, 65_535), _TEXTS)
def test_what_is_encoded_is_read_as_the_driver_reads_it(
    user: str, password: str, host: str, port: int, database: str
) -> None:
    """Any user, password and database can be written percent-encoded, and the driver reads the same."""
    named = [quote(text, safe="") for text in (user, password, database)]
    url = f"postgresql://{named[0]}:{named[1]}@{host}:{port}/{named[2]}"
    found = database_address(url)
    assert (found.hosts, found.user, found.password, found.database) == (((host, port),), user, password, database)
    assert drivers_view(url) == (list(found.hosts), user, password, database)
    assert password not in repr(found) or len(password) < 4


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://a:1,b:2/d?target_session_attrs=any", (("a", 1), ("b", 2))),
        ("postgresql://a,b:2/d", (("a", 5432), ("b", 2))),
        ("postgres://u:p%40w@[::1]:6432/d", (("::1", 6432),)),
        ("postgresql:///d?host=/var/run/postgresql&port=5433", (("/var/run/postgresql", 5433),)),
        ("postgresql:///d?host=%2Frun%2Fpg", (("/run/pg", 5432),)),
        ("postgresql://u:a:b@h/d", (("h", 5432),)),
        ("postgresql://localhost/tradovate_worker", (("localhost", 5432),)),
        ("postgresql:///d", ()),
    ],
)
def test_hosts_are_those_of_the_driver(url: str, hosts: tuple[tuple[str, int], ...]) -> None:
    """Several hosts, IPv6 and sockets are read as the driver reads them."""
    assert database_address(url).hosts == hosts
    if hosts:
        theirs = [
            (each.rpartition("/")[0], int(each.rpartition(".")[2])) if isinstance(each, str) else each
            for each in drivers_view(url)[0]
        ]
        assert theirs == list(hosts)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:4321#x@h/d",
        "postgresql://u:a@b@h/d",
        "postgresql://u:12/x@h/d",
        "postgresql://u:12?x@h/d",
        "postgresql://u:50%off@h/d",
        "postgresql://u:a b@h/d",
        "postgresql://u:p\u00e4ss@h/d",
        "postgresql://u:[1]@h/d",
        "postgresql://u:p@h/d/e",
        "postgresql://u:p@h/d?sslmode",
        "postgresql://u:p@h:5432x/d",
        "postgresql://u:p@h,/d",
    ],
)
def test_an_unescaped_password_is_refused_without_showing_it(url: str) -> None:
    """Such an address is refused with the advice to percent-encode, and no part of it is shown."""
    with pytest.raises(SettingsError) as refused:
        load(DatabaseSettings, {"DATABASE_URL": url})
    text = str(refused.value)
    assert "%23 %40 %2F %3F and %25" in text
    for part in ("4321", "a@b", "12", "50%off", "a b", "p\u00e4ss", "[1]"):
        assert part not in text.replace("%2F", "")


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (KafkaSettings, "KAFKA_BOOTSTRAP_SERVERS", "user:pa@ss@kafka:9092"),
        (KafkaSettings, "KAFKA_BOOTSTRAP_SERVERS", "user@kafka:9092"),
        (KafkaSettings, "KAFKA_BOOTSTRAP_SERVERS", "kafka:9092#x"),
        (BridgeSettings, "TRADOVATE_LIVE_URL", "https://u:pa#ss@live.tradovateapi.com/v1"),
        (BridgeSettings, "TRADOVATE_LIVE_URL", "https://live.tradovateapi.com@evil.example/v1"),
        (BridgeSettings, "TRADOVATE_DEMO_URL", "https://demo.tradovateapi.com?x=/v1"),
        (BridgeSettings, "TRADOVATE_DEMO_URL", "https://demo.tradovateapi.com#/v1"),
        (BridgeSettings, "TRADOVATE_LIVE_WS_URL", "wss://u@live.tradovateapi.com/v1/websocket"),
        (BridgeSettings, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318?token=hunter2"),
    ],
)
def test_no_other_address_is_read_in_two_ways(settings: type[KafkaSettings], name: str, value: str) -> None:
    """Addresses of Kafka, Tradovate and the trace collector have a host and no user, query or fragment."""
    with pytest.raises(SettingsError) as refused:
        load(settings, {name: value})
    assert name in {problem.name for problem in refused.value.problems}
    assert value not in str(refused.value)


@given(_TEXTS)
def test_reading_an_address_raises_nothing_else(text: str) -> None:
    """Any text is an address or is not, and says so by a bare ValueError."""
    for read in (database_address, lambda text: http_address(text, "http")):
        for whole in (text, f"postgresql://{text}", f"http://{text}"):
            said: list[tuple[object, ...]] = []
            try:
                read(whole)
            except ValueError as error:
                said.append(error.args)
            assert said in ([], [()])
