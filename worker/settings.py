"""Every setting, its default, and the reason for it. Read once, in the composition root, and nowhere else.

Settings come in groups, and a command asks only for the groups whose settings it uses: `topics list` never misses a
password. A field is called as its setting is, in lower case. `load` reads a group from the environment, then `.env`,
then the files of `/run/secrets` (one a setting, named like it), and returns it, checked and frozen, or raises one
`SettingsError` that names all that is wrong.

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


class Environment(StrEnum):
    """Which Tradovate the worker talks to."""

    STAGING = "staging"
    PRODUCTION = "production"


class SecurityProtocol(StrEnum):
    """How a connection to Kafka is protected, in Kafka's own words."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def sasl(self) -> bool:
        """Whether the client says who it is."""
        return self in (SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL)


_LIVE = {
    Environment.STAGING: "https://live-api.staging.ninjatrader.dev/v1",
    Environment.PRODUCTION: "https://live.tradovateapi.com/v1",
}
_DEMO = {
    Environment.STAGING: "https://demo-api.staging.ninjatrader.dev/v1",
    Environment.PRODUCTION: "https://demo.tradovateapi.com/v1",
}
"""REST bases as the vendor's page "Environments" has them."""

_MDA_ALERT = {Environment.STAGING: 70, Environment.PRODUCTION: 68}
"""The admin alert that says "Market Data Agreement signed" has another id in each of the vendor's databases."""


def _socket_of(base: str) -> str:
    """http://… becomes ws://…/websocket, https:// becomes wss://."""
    return "ws" + base.removeprefix("http") + "/websocket"


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
    kafka_ssl_key_file: forms.File | None = None
    kafka_topic_partitions: forms.Partitions = 12
    """Twelve replicas can share a topic, and twelve divides by two, three, four and six."""
    kafka_topic_replication: forms.Replication = 1
    """One, so that a single broker works out of the box; three in production."""
    kafka_topic_retention_hours: forms.Hours = 168
    """A week: a weekend's outage leaves time to mend it. Input topics hold personal data that long."""
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


class EnvironmentSettings(Group):
    """Which Tradovate a ledger belongs to."""

    tradovate_environment: Annotated[Environment, forms.Lower, ValueForm("staging or production", "staging")] = (
        Environment.STAGING
    )
    """Staging: nobody should reach real traders because a setting was forgotten."""


class TradovateSettings(EnvironmentSettings):
    """The partner: its addresses, our API user, and what it allows."""

    tradovate_live_url: forms.RestBase | None = None
    tradovate_demo_url: forms.RestBase | None = None
    tradovate_live_ws_url: forms.WsAddress | None = None
    tradovate_demo_ws_url: forms.WsAddress | None = None
    tradovate_follow_hosts: forms.Switch = True
    """Tradovate moves organizations to hosts of their own; `off` is for a gateway of the firm's own."""
    tradovate_trusted_hosts: forms.TrustedHosts = "tradovateapi.com,tradovate.com,ninjatrader.com,ninjatrader.dev"
    """All domains that the vendor's pages name: a host that is called receives the token."""
    tradovate_proxy_url: forms.ProxyUrl | None = None
    """A `SecretStr`, for it may carry a password."""
    tradovate_ca_file: forms.CaFile | None = None
    """Trusted beside the machine's own authorities, for a proxy that opens TLS or a gateway of the firm's own."""
    tradovate_name: Annotated[forms.Text, ValueForm("the name of the organization's API user", "acme-admin")]
    tradovate_password: Annotated[forms.Secret, ValueForm("the API user's password", "<the password>")]
    tradovate_app_id: Annotated[forms.Text, ValueForm("the name of the API key", "acme-worker")]
    tradovate_app_version: Annotated[forms.Text, ValueForm("the version that the API key was made for", "1.0")]
    tradovate_cid: forms.ClientId
    tradovate_sec: Annotated[forms.Secret, ValueForm("the API key's secret", "<the secret>")]
    tradovate_device_id: Annotated[
        forms.Text, ValueForm("a stable id, the same for all replicas", "6b1f3c1e-1f5c-4f0e-9f37-2a1d5b0c7d11")
    ]
    tradovate_mda_alert_id: forms.VendorId | None = None
    tradovate_hourly_budget: Annotated[forms.Count, ValueForm("a whole number of calls, 1 to 1000000", "4500")] = 4500
    """Of the 5,000 an hour that Tradovate allows the whole organization; the rest is for its people's own calls."""
    tradovate_minute_budget: Annotated[forms.Count, ValueForm("a whole number of calls, 1 to 1000000", "600")] = 600
    """Tradovate's page allows 5,000 a minute, two makers of other clients publish 80: bursts are kept short. In full
    calls 600 carry 27,000 purchases."""
    tradovate_timeout_seconds: forms.Timeout = 60
    """A full batch of a hundred evaluation accounts was seen to take tens of seconds."""
    tradovate_lockout_seconds: forms.Seconds = 3600
    """The vendor's answer to one call too many: an hour in which each further try starts the hour again."""
    tradovate_settle_seconds: forms.Seconds = 15
    """A call that was cut may take effect a moment later; a look-up before that would see nothing and repeat it."""
    tradovate_maintenance: forms.Switch = True

    @property
    def live_url(self) -> str:
        """REST base of LIVE, with /v1 and no slash at its end."""
        return self.tradovate_live_url or _LIVE[self.tradovate_environment]

    @property
    def demo_url(self) -> str:
        """REST base of DEMO, with /v1 and no slash at its end."""
        return self.tradovate_demo_url or _DEMO[self.tradovate_environment]

    @property
    def live_ws_url(self) -> str:
        """WebSocket address of LIVE."""
        return self.tradovate_live_ws_url or _socket_of(self.live_url)

    @property
    def demo_ws_url(self) -> str:
        """WebSocket address of DEMO."""
        return self.tradovate_demo_ws_url or _socket_of(self.demo_url)

    @property
    def trusted_hosts(self) -> tuple[str, ...]:
        """The suffixes of hosts that may replace those of the four addresses above."""
        return tuple(self.tradovate_trusted_hosts.split(","))

    @property
    def mda_alert_id(self) -> int:
        """The admin alert that tells that a trader signed the Market Data Agreement."""
        return self.tradovate_mda_alert_id or _MDA_ALERT[self.tradovate_environment]

    @property
    def lockout(self) -> timedelta:
        """Silence after a 423 or 429."""
        return timedelta(seconds=self.tradovate_lockout_seconds)

    @property
    def settle(self) -> timedelta:
        """Between a call whose result is unknown and the first look whether it took effect."""
        return timedelta(seconds=self.tradovate_settle_seconds)


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

    http_host: Annotated[forms.Text, ValueForm("a host name or address of this machine", "127.0.0.1")] = "127.0.0.1"
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
    """Tracing is on when it has somewhere to go."""

    otel_exporter_otlp_endpoint: forms.HttpAddress | None = None


class BridgeSettings(LogSettings, KafkaSettings, LedgerSettings, TradovateSettings, HttpSettings, TracingSettings):
    """What `bridge` uses."""

    bridge_risk_status: forms.Switch = False
    """Off: the API key needs the permission Risks:Read for it."""


class RunSettings(BridgeSettings, FlowSettings):
    """What `run` uses: everything."""
