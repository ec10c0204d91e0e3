"""The settings of the partner: which environment, its addresses, our API user, and what it allows."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from worker import _forms as forms
from worker._forms import ValueForm
from worker._loading import Group

__all__ = ["Environment", "EnvironmentSettings", "TradovateSettings"]


class Environment(StrEnum):
    """Which Tradovate the worker talks to."""

    STAGING = "staging"
    PRODUCTION = "production"


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
