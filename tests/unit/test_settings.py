"""What an operator who sets the worker up may rely on."""

from __future__ import annotations

import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker._loading import form_of
from worker.settings import (
    DatabaseSettings,
    Group,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    Problem,
    RunSettings,
    SecretSettings,
    SettingsError,
    TracingSettings,
    TradovateSettings,
    load,
)

API_USER = {
    "TRADOVATE_NAME": "acme-admin",
    "TRADOVATE_PASSWORD": "hunter2hunter2",
    "TRADOVATE_APP_ID": "acme",
    "TRADOVATE_APP_VERSION": "1.0",
    "TRADOVATE_CID": "1234",
    "TRADOVATE_SEC": "f03741b6-f634-48d6-9308-c8fb871150c2",
    "TRADOVATE_DEVICE_ID": "device-1",
}
COMPLETE = {**API_USER, "SECRET_KEY": "k" * 32, "TRADOVATE_SUBSCRIPTION_PLAN_ID": "5"}


def wrong(group: type[Group], env: dict[str, str]) -> dict[str, Problem]:
    with pytest.raises(SettingsError) as caught:
        load(group, env)
    return {problem.name: problem for problem in caught.value.problems}


def test_numbers_with_a_unit_become_durations() -> None:
    """What a setting counts in days, hours, seconds or milliseconds is a duration where it is used."""
    found = load(RunSettings, COMPLETE)
    assert (found.lockout, found.settle) == (timedelta(hours=1), timedelta(seconds=15))
    assert (found.unknown_wait, found.batch_linger) == (timedelta(minutes=15), timedelta(milliseconds=5))
    assert (found.retry_base, found.retry_cap) == (timedelta(seconds=1), timedelta(minutes=5))
    assert (found.retry_for, found.ledger_keep) == (timedelta(days=1), timedelta(days=400))
    assert found.kafka_dlq_retention == timedelta(days=14)


@pytest.mark.parametrize(
    ("environment", "live", "demo", "alert"),
    [
        ("staging", "https://live-api.staging.ninjatrader.dev/v1", "https://demo-api.staging.ninjatrader.dev/v1", 70),
        ("production", "https://live.tradovateapi.com/v1", "https://demo.tradovateapi.com/v1", 68),
    ],
)
def test_environment_sets_addresses_and_alert(environment: str, live: str, demo: str, alert: int) -> None:
    """The environment alone sets the four addresses and the alert id."""
    found = load(TradovateSettings, {**API_USER, "TRADOVATE_ENVIRONMENT": environment})
    assert (found.live_url, found.demo_url, found.mda_alert_id) == (live, demo, alert)
    assert found.live_ws_url == live.replace("https", "wss") + "/websocket"
    assert found.demo_ws_url == demo.replace("https", "wss") + "/websocket"


def test_socket_addresses_follow_rest_addresses() -> None:
    """A WebSocket address follows from the REST base that was given, slash at its end or not."""
    found = load(
        TradovateSettings,
        {
            **API_USER,
            "TRADOVATE_LIVE_URL": "http://127.0.0.1:8081/live/v1/",
            "TRADOVATE_DEMO_WS_URL": "ws://127.0.0.1:9/v1/websocket",
        },
    )
    assert found.live_url == "http://127.0.0.1:8081/live/v1"
    assert found.live_ws_url == "ws://127.0.0.1:8081/live/v1/websocket"
    assert found.demo_ws_url == "ws://127.0.0.1:9/v1/websocket"


def test_all_that_is_wrong_is_named_at_once() -> None:
    """Missing and wrong settings of every group come in one error, each with its form and an example."""
    problems = wrong(
        RunSettings,
        {
            "DAY_END": "25:00",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "TRADOVATE_ACCOUNT_PREFIX": "eval",
            "HTTP_PORT": "x",
        },
    )
    missing = {name for name, problem in problems.items() if problem.missing}
    assert missing == {
        *COMPLETE,
        "KAFKA_SASL_MECHANISM",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SASL_PASSWORD",
    }
    assert problems.keys() - missing == {"DAY_END", "TRADOVATE_ACCOUNT_PREFIX", "HTTP_PORT"}
    assert all(problem.form and problem.example for problem in problems.values())
    assert "DAY_END is wrong: a time of day, HH:MM, for example 17:15" in str(problems["DAY_END"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,"),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:99999"),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:0"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka..example:9092"),
        ("KAFKA_TOPIC_PREFIX", "a b"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("KAFKA_SSL_CA_FILE", "/no/such/file"),
        ("KAFKA_TOPIC_PARTITIONS", "0"),
        ("KAFKA_TOPIC_PARTITIONS", "99999999999"),
        ("KAFKA_TOPIC_REPLICATION", "100000"),
        ("KAFKA_TOPIC_RETENTION_HOURS", "9999999999999999"),
        ("KAFKA_TOPIC_RETENTION_HOURS", "soon"),
        ("DATABASE_URL", "mysql://u:p@h/d"),
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "postgresql://h:port/d"),
        ("DATABASE_URL", "postgresql://h:99999/d"),
        ("DATABASE_URL", "postgresql://h:1,other:port/d"),
        ("DATABASE_URL", "postgresql:///d?host=h&port=abc"),
        ("DATABASE_URL", "postgresql://h/d?sslmode=bogus"),
        ("SECRET_KEY", "\udcff" * 32),
        ("SECRET_KEY", "k" * 31),
        ("SECRET_KEY", "k" * 32 + "," + "short"),
        ("SECRET_KEY", "k" * 32 + ","),
        ("TRADOVATE_ENVIRONMENT", "live"),
        ("TRADOVATE_LIVE_URL", "https://live.tradovateapi.com"),
        ("TRADOVATE_LIVE_URL", "live.tradovateapi.com/v1"),
        ("TRADOVATE_DEMO_URL", "https://host:port/v1"),
        ("TRADOVATE_DEMO_URL", "https://host..example/v1"),
        ("TRADOVATE_LIVE_WS_URL", "https://live.tradovateapi.com/v1/websocket"),
        ("TRADOVATE_SUBSCRIPTION_PLAN_ID", "gold"),
        ("TRADOVATE_ACCOUNT_PREFIX", "EVAL1"),
        ("TRADOVATE_ACCOUNT_PREFIX", "Ä"),
        ("TRADOVATE_HOURLY_BUDGET", "0"),
        ("TRADOVATE_MINUTE_BUDGET", "0"),
        ("TRADOVATE_MINUTE_BUDGET", "1.5"),
        ("TRADOVATE_TIMEOUT_SECONDS", "0"),
        ("TRADOVATE_TIMEOUT_SECONDS", "nan"),
        ("TRADOVATE_SETTLE_SECONDS", "-1"),
        ("TRADOVATE_SETTLE_SECONDS", "1e14"),
        ("TRADOVATE_SUBSCRIPTION_PLAN_ID", "9223372036854775808"),
        ("UNKNOWN_WAIT_SECONDS", "1e12"),
        ("TRADOVATE_MAINTENANCE", "yes"),
        ("DAY_END", "17"),
        ("DAY_END", "5pm"),
        ("PRODUCTS_FILE", "/no/such/products.toml"),
        ("RETRY_FOR_SECONDS", "inf"),
        ("BATCH_LINGER_MS", "-0.1"),
        ("BATCH_LINGER_MS", "1e20"),
        ("RETRY_FOR_SECONDS", "1e15"),
        ("HTTP_TRUSTED_PROXIES", "proxy.example.com"),
        ("HTTP_TRUSTED_PROXIES", "*"),
        ("HTTP_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("HTTP_TRUSTED_PROXIES", "10.0.0.1,"),
        ("LEDGER_KEEP_DAYS", "1.5"),
        ("LEDGER_KEEP_DAYS", "10000000"),
        ("HTTP_HOST", "worker..example"),
        ("HTTP_PORT", "65536"),
        ("CONSOLE_TOKEN", "t" * 15),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
    ],
)
def test_a_wrong_value_is_named_and_not_repeated(name: str, value: str) -> None:
    """Each wrong value stops the start with its setting's name, and is never part of the message or the traceback."""
    with pytest.raises(SettingsError) as caught:
        load(RunSettings, {**COMPLETE, name: value})
    (problem,) = caught.value.problems
    assert problem.name == name
    assert not problem.missing
    if len(value) > 3:
        text = "".join(traceback.format_exception(caught.value)).replace(problem.form, "").replace(problem.example, "")
        assert f"={value}" not in text
        assert f"'{value}'" not in text


@pytest.mark.parametrize(
    "name", ["KAFKA_SSL_CA_FILE", "KAFKA_SSL_CERT_FILE", "KAFKA_SSL_KEY_FILE", "TRADOVATE_CA_FILE", "PRODUCTS_FILE"]
)
def test_a_file_given_in_place_of_its_path_is_a_wrong_value(name: str) -> None:
    """A key or catalogue where its path should be is named with all else that is wrong, and not shown."""
    text = "-----BEGIN PRIVATE KEY-----\n" + "MC4CAQAwBQYDK2VwBCIEIHunter2\n" * 200
    with pytest.raises(SettingsError) as caught:
        load(RunSettings, {**COMPLETE, "KAFKA_SSL_CERT_FILE": __file__, name: text, "HTTP_PORT": "x"})
    assert {problem.name for problem in caught.value.problems} == {name, "HTTP_PORT"}
    assert "PRIVATE KEY" not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_cannot_be_asked_for_is_a_wrong_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in a directory that may not be entered is named by its setting."""

    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", forbidden)
    assert wrong(RunSettings, {**COMPLETE, "PRODUCTS_FILE": "/closed/products.toml"}).keys() == {"PRODUCTS_FILE"}
    assert wrong(RunSettings, {**COMPLETE, "TRADOVATE_CA_FILE": "/closed/ca.pem"}).keys() == {"TRADOVATE_CA_FILE"}


@given(value=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=8, max_size=31))
def test_no_secret_is_in_an_error(value: str) -> None:
    """Whatever is typed for a key, the error does not say it."""
    marked = f"zq{value}"[:31].replace(",", "x")
    problems = wrong(SecretSettings, {"SECRET_KEY": marked})
    assert marked not in str(problems["SECRET_KEY"])


def test_secrets_are_not_printed() -> None:
    """No secret is in the text of the settings."""
    others = {"DATABASE_URL": "postgresql://u:dbpass@h/d", "CONSOLE_TOKEN": "c" * 16, "KAFKA_SASL_PASSWORD": "kp"}
    found = load(RunSettings, COMPLETE | others)
    text = repr(found) + str(found)
    for secret in ("hunter2hunter2", API_USER["TRADOVATE_SEC"], "k" * 32, "dbpass", "c" * 16, "'kp'"):
        assert secret not in text


def test_small_values_are_allowed() -> None:
    """Waits may be as short as fractions of a second, or nothing."""
    found = load(
        RunSettings,
        {
            **COMPLETE,
            "TRADOVATE_TIMEOUT_SECONDS": "0.5",
            "TRADOVATE_SETTLE_SECONDS": "0.2",
            "TRADOVATE_LOCKOUT_SECONDS": "0",
            "RETRY_BASE_SECONDS": "0.01",
            "RETRY_CAP_SECONDS": "0.1",
            "RETRY_FOR_SECONDS": "5",
            "BATCH_LINGER_MS": "0",
            "TRADOVATE_HOURLY_BUDGET": "1",
            "HTTP_PORT": "0",
        },
    )
    assert found.settle == timedelta(milliseconds=200)
    assert found.batch_linger == timedelta(0)
    assert found.unknown_wait == timedelta(seconds=5)


def test_words_may_be_typed_in_either_case() -> None:
    """Names of settings and words of a fixed list are read whatever their case."""
    found = load(RunSettings, {**COMPLETE, "log_level": "WARNING", "KAFKA_SECURITY_PROTOCOL": "ssl"})
    assert (found.log_level, found.kafka_security_protocol) == ("warning", "SSL")


def test_several_keys_the_first_writes() -> None:
    """Several keys are separated by commas, and keep their order."""
    keys = load(SecretSettings, {"SECRET_KEY": "a" * 32 + ", " + "b" * 40}).secret_keys
    assert [key.get_secret_value() for key in keys] == ["a" * 32, "b" * 40]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a:1,b:2/d?target_session_attrs=any",
        "postgres://u:p%40w@[::1]:5432/d",
        "postgresql://[::1]/d",
        "postgresql:///d?host=/var/run/postgresql&port=5433",
        "postgresql://h/d?sslmode=require",
    ],
)
def test_every_form_of_a_database_address_is_taken(url: str) -> None:
    """Several hosts, IPv6, sockets and options are for PostgreSQL's own driver to judge."""
    assert load(DatabaseSettings, {"DATABASE_URL": url}).database_url.get_secret_value() == url


def test_a_command_asks_only_for_what_it_uses() -> None:
    """Kafka, the database, HTTP, logging and tracing can be set up without a single required setting."""
    for group in (KafkaSettings, DatabaseSettings, HttpSettings, LogSettings, TracingSettings):
        load(group, {})


def test_a_key_needs_its_certificate(tmp_path: Path) -> None:
    """A client key without a certificate names the certificate as missing."""
    key = tmp_path / "key.pem"
    key.touch()
    assert wrong(KafkaSettings, {"KAFKA_SSL_KEY_FILE": str(key)})["KAFKA_SSL_CERT_FILE"].missing


def test_sasl_is_not_asked_for_without_sasl() -> None:
    """Without SASL no user is needed, and one that is set is no error."""
    found = load(KafkaSettings, {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SASL_USERNAME": "u"})
    assert found.kafka_sasl_username == "u"


def test_ids_of_the_api_key_become_numbers() -> None:
    """The API key's id is sent as a number when it is one, as the vendor's examples do."""
    assert load(TradovateSettings, API_USER).tradovate_cid == 1234
    assert load(TradovateSettings, {**API_USER, "TRADOVATE_CID": "acme-1"}).tradovate_cid == "acme-1"


def test_settings_are_frozen() -> None:
    """Nobody changes a setting while the program runs."""
    found = load(LogSettings, {})
    with pytest.raises(ValueError, match="frozen"):
        found.log_level = "debug"  # type: ignore[misc]  # mypy says so too


def test_every_setting_has_its_form() -> None:
    """Whatever setting is wrong, the form it should have can be shown."""
    for name in RunSettings.model_fields:
        assert form_of(RunSettings, name).form
