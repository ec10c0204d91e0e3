"""Addresses in settings: read as they are meant, or refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

import pytest
from asyncpg import connect_utils
from hypothesis import given
from hypothesis import strategies as st

from worker.addresses import broker_addresses, database_address, http_address, listening_host, networks, proxy_address
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


_NO_PORT = ["0", "65536", "99999", "-1", "9" * 6, "\uff11", ""]
_NO_HOST = [
    "a..b", ".a", "a" * 64 + ".b", "a.".join(["b"] * 200), "-a", "a-", "a b", "\xfc.example", "10.0.0.256", "10.0.1",
    "010.0.0.1", "[::z]", "[1:2]", "[10.0.0.1]", "[::1", "::1",
]  # fmt: skip
_HOSTS = ["kafka", "kafka_1", "my-kafka-0.kafka.svc", "kafka.example.", "a" * 63, "10.0.0.1", "[::1]", "7"]
_READERS = [
    (broker_addresses, "{host}:{port}"),
    (database_address, "postgresql://{host}:{port}/d"),
    (lambda text: http_address(text, "http"), "http://{host}:{port}/v1"),
    (proxy_address, "http://{host}:{port}"),
]


@pytest.mark.parametrize(("read", "form"), _READERS, ids=["brokers", "database", "http", "proxy"])
def test_a_host_and_a_port_are_those_that_a_socket_takes(read: Callable[[str], object], form: str) -> None:
    """What no socket can connect to is refused where it is read, or connecting would raise what nobody expects."""
    for host in _HOSTS:
        read(form.format(host=host, port="65535"))
    refused = [form.format(host="kafka", port=port) for port in _NO_PORT]
    refused += [form.format(host=host, port="9092") for host in _NO_HOST]
    for text in refused:
        with pytest.raises(ValueError, match=r"^$"):
            read(text)


@pytest.mark.parametrize("text", ["kafka:9092,kafka:0", "kafka", "kafka:9092,", ",", "a:1 b:1", "a:1,,b:1"])
def test_each_broker_has_its_port(text: str) -> None:
    """Of several brokers each is checked."""
    with pytest.raises(ValueError, match=r"^$"):
        broker_addresses(text)
    assert broker_addresses("kafka:1, [::1]:9092") == ("kafka:1", "[::1]:9092")


def test_the_host_to_listen_on_is_one_host() -> None:
    """A name, or an address of either family as a socket takes it, without brackets."""
    for host in ("localhost", "10.0.0.1", "::", "::1", "fe80::1%eth0", "worker-0"):
        assert listening_host(host) == host
    for host in ("a..b", "[::1]", "127.0.0.1:8000", "http://localhost", "\xfc", "*", "10.0.0.256"):
        with pytest.raises(ValueError, match=r"^$"):
            listening_host(host)


def test_an_ipv4_proxy_written_as_ipv6_is_that_proxy() -> None:
    """Clients are read as IPv4 where they are, so a network that means them is too."""
    assert networks("::ffff:10.0.0.1, ::ffff:10.0.0.0/104, ::ffff:0:0/96") == networks("10.0.0.1,10.0.0.0/8,0.0.0.0/0")
    assert list(map(str, networks("::1,::/0,fd00::/8"))) == ["::1/128", "::/0", "fd00::/8"]


@given(_TEXTS)
def test_reading_an_address_raises_nothing_else(text: str) -> None:
    """Any text is an address or is not, and says so by a bare ValueError."""
    for read in (*(read for read, _ in _READERS), listening_host, networks):
        for whole in (text, f"postgresql://{text}", f"http://{text}", f"{text}:1"):
            said: list[tuple[object, ...]] = []
            try:
                read(whole)
            except ValueError as error:
                said.append(error.args)
            assert said in ([], [()])
