"""Every setting, its default, and the reason for it. Read once, in the composition root, and nowhere else.

Those of Tradovate are in `_tradovate_settings.py`.

Settings come in groups, and a command asks only for the groups whose settings it uses: `topics list` never misses a
password. A field is called as its setting is, in lower case. `load` reads a group from the environment, then `.env`,
then the files of `/run/secrets` (one for each setting, with its name). It returns the group, checked and frozen, or
raises one `SettingsError` that names all that is wrong.

A value is never part of an error: a password typed into the wrong variable must not end up in a log.
"""

from __future__ import annotations

from datetime import time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import SecretStr, ValidationInfo, field_validator

from worker import _forms as forms
from worker._forms import ValueForm
from worker._loading import Group, Problem, SettingsError, load, needed
from worker._tradovate_settings import Environment, EnvironmentSettings, TradovateSettings
from worker.addresses import Network, networks

__all__ = [
    "BridgeSettings",
    "DatabaseSettings",
    "Environment",
    "EnvironmentSettings",
    "FlowSettings",
    "Group",
    "HttpSettings",
    "KafkaSettings",
    "LedgerSettings",
    "LogSettings",
    "OwnSettings",
    "Problem",
    "RunSettings",
    "SecretSettings",
    "SecurityProtocol",
    "SettingsError",
    "TracingSettings",
    "TradovateSettings",
    "load",
]


class SecurityProtocol(StrEnum):
    """How a connection to Kafka is protected, in Kafka's own words."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def sasl(self) -> bool:
        """Whether the client authenticates by SASL."""
        return self in (SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL)


class LogSettings(Group):
    """How the program talks about itself."""

    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        forms.Lower,
        ValueForm("debug, info, warning, error or critical", "info"),
    ] = "info"
    log_format: Annotated[Literal["json", "console"], forms.Lower, ValueForm("json or console", "json")] = "json"
    """JSON, because a replica's log is read by a collector; `console` is for people."""


class KafkaSettings(Group):
    """The cluster, how to reach it, and how `topics create` makes its topics."""

    kafka_bootstrap_servers: forms.Servers = "localhost:9092"
    kafka_group_id: Annotated[forms.Text, ValueForm("the consumer group's name", "tradovate-worker")] = (
        "tradovate-worker"
    )
    kafka_topic_prefix: forms.TopicPrefix = ""
    kafka_security_protocol: Annotated[
        SecurityProtocol, forms.Upper, ValueForm("PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", "SASL_SSL")
    ] = SecurityProtocol.PLAINTEXT
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None,
        forms.Upper,
        ValueForm("PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, needed with SASL", "SCRAM-SHA-512"),
    ] = None
    kafka_sasl_username: Annotated[str | None, ValueForm("the Kafka user, needed with SASL", "tradovate-worker")] = None
    kafka_sasl_password: Annotated[
        SecretStr | None, ValueForm("the Kafka user's password, needed with SASL", "<the password>")
    ] = None
    kafka_ssl_ca_file: forms.File | None = None
    """Without it the machine's own certificate authorities are trusted."""
    kafka_ssl_cert_file: Annotated[
        forms.File | None,
        ValueForm("the path of the client's certificate, needed with KAFKA_SSL_KEY_FILE", "/etc/ssl/client.pem"),
    ] = None
    kafka_ssl_key_file: Annotated[
        forms.File | None, ValueForm("the path of the client certificate's unencrypted key", "/etc/ssl/client.key")
    ] = None
    kafka_session_timeout_seconds: forms.SessionTimeout = 10
    """After so long without a heartbeat another replica reads what a dead one read; it beats three times meanwhile."""
    kafka_topic_partitions: forms.Partitions = 12
    """Twelve replicas can share a topic, and twelve divides by two, three, four and six."""
    kafka_topic_replication: forms.Replication = 1
    """One, so that a single broker works out of the box; three in production."""
    kafka_topic_retention_hours: forms.Hours = 168
    """A week: a weekend's outage leaves time to correct it. Input topics hold personal data that long."""
    kafka_dlq_retention_hours: forms.Hours = 336
    """Two weeks: an operator has to look at a dead letter, and may be on holiday."""

    @property
    def kafka_dlq_retention(self) -> timedelta:
        """The same, for dead letters that the ledger keeps."""
        return timedelta(hours=self.kafka_dlq_retention_hours)

    # Fields are validated in their order, so each check below sees the settings above it; one that was wrong itself is
    # absent and its followers say nothing.
    @field_validator("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
    @classmethod
    def _needed_with_sasl(cls, value: Any, info: ValidationInfo) -> Any:
        protocol = info.data.get("kafka_security_protocol")
        if value is None and protocol is not None and protocol.sasl:
            raise needed()
        return value

    @field_validator("kafka_ssl_key_file")
    @classmethod
    def _key_has_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("kafka_ssl_cert_file", value) is None:
            raise needed("kafka_ssl_cert_file")
        return value


class DatabaseSettings(Group):
    """Where the ledger is."""

    database_url: forms.DatabaseUrl = SecretStr("postgresql://localhost/tradovate_worker")
    """A `SecretStr`, for it may carry a password."""


class SecretSettings(Group):
    """What encrypts personal data, passwords and the shared token at rest."""

    secret_key: forms.SecretKeys

    @property
    def secret_keys(self) -> tuple[SecretStr, ...]:
        """Every key, the first of which writes; all of them read."""
        return forms.split_keys(self.secret_key)


class OwnSettings(Group):
    """What is the firm's own among the things at Tradovate."""

    tradovate_tprop_entitlement_id: forms.VendorId | None = None
    tradovate_account_prefix: forms.AccountPrefix = "EVAL"


class FlowSettings(OwnSettings):
    """What new traders get, and how patient the flows are."""

    tradovate_subscription_plan_id: forms.VendorId
    products_file: forms.Catalogue | None = None
    day_end: forms.TimeOfDay = time(17, 15)
    """A quarter of an hour after CME's trading day ends, America/Chicago."""
    unknown_wait_seconds: forms.Seconds = 900
    """An event that overtook another is minutes behind it; what takes longer is an order that nobody placed."""
    retry_base_seconds: forms.Seconds = 1
    retry_cap_seconds: forms.Seconds = 300
    retry_for_seconds: forms.Seconds = 86400
    """A day: longer than any outage of the partner's that was announced, short enough to tell the trader."""
    batch_linger_ms: forms.Milliseconds = 5
    """Enough for the neighbours of a burst to arrive, too little for an operator to notice."""
    batch_linger_max_seconds: forms.Seconds = 60

    @property
    def unknown_wait(self) -> timedelta:
        """How long an event waits for a trader or order not yet seen: never longer than anything is retried."""
        return timedelta(seconds=min(self.unknown_wait_seconds, self.retry_for_seconds))

    @property
    def retry_base(self) -> timedelta:
        """The back-off's first step."""
        return timedelta(seconds=self.retry_base_seconds)

    @property
    def retry_cap(self) -> timedelta:
        """The back-off's longest step."""
        return timedelta(seconds=self.retry_cap_seconds)

    @property
    def retry_for(self) -> timedelta:
        """After that much time spent on retries, a flow gives up."""
        return timedelta(seconds=self.retry_for_seconds)

    @property
    def batch_linger(self) -> timedelta:
        """The longest that a step lingers while little of the budget is used."""
        return timedelta(milliseconds=self.batch_linger_ms)


class LedgerSettings(DatabaseSettings, SecretSettings):
    """The ledger: where it is, what encrypts it, how long it remembers."""

    ledger_keep_days: forms.Days = 400
    """A year and a month: last year's month can be compared with this one's."""

    @property
    def ledger_keep(self) -> timedelta:
        """Ended events and calls older than that are pruned."""
        return timedelta(days=self.ledger_keep_days)


class HttpSettings(Group):
    """Health, metrics and the console."""

    http_host: forms.ListeningHost = "127.0.0.1"
    """This machine alone: a console that is open to the world has to be meant."""
    http_port: forms.Port = 8000
    http_trusted_proxies: forms.Networks = "127.0.0.0/8,::1"
    """Loopback alone: a trusted proxy says which address wrong tokens of the console are counted for."""
    console_token: forms.ConsoleToken | None = None

    @property
    def trusted_proxies(self) -> tuple[Network, ...]:
        """Of `http_trusted_proxies`."""
        return networks(self.http_trusted_proxies)


class TracingSettings(Group):
    """Tracing is on if its endpoint is set."""

    otel_exporter_otlp_endpoint: forms.HttpAddress | None = None


class BridgeSettings(LogSettings, KafkaSettings, LedgerSettings, TradovateSettings, HttpSettings, TracingSettings):
    """What `bridge` uses."""

    bridge_risk_status: forms.Switch = False
    """Off: the API key needs the permission Risks:Read for it."""


class RunSettings(BridgeSettings, FlowSettings):
    """What `run` uses: everything."""
