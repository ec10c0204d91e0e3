"""What `doctor` says of Tradovate's hosts, of the password, and of a login that waits for an operator."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.test_doctor import _ask
from tests.support.spine import Stages
from worker.sandbox import SandboxConfig
from worker.settings import RunSettings


async def test_the_hosts_in_use_are_shown_with_where_they_come_from(stage: Stages) -> None:
    """Before and after a move: REST and WebSocket of each domain, and which response named them."""
    at = await stage(SandboxConfig(api_hosts="moved"))
    _, checks, _ = await _ask(at)
    here = f"127.0.0.1:{at.partner.port}"
    assert checks["live host"]["seen"] == f"{here}, WebSocket {here} (from: settings)"
    assert checks["demo host"]["verdict"] == "ok"
    port = at.partner.move()
    at.partner.sandbox.control.close_sessions()
    await at.rows("update session set expires_at = clock_timestamp()")
    _, checks, _ = await _ask(at)
    there = f"127.0.0.1:{port}"
    assert checks["demo host"]["seen"] == f"{there}, WebSocket {there} (from: login)"
    assert checks["live host"]["seen"] == f"{here}, WebSocket {here} (from: login)"


async def test_a_wrong_host_is_found_and_left_while_doctor_looks(stage: Stages, tmp_path: Any) -> None:
    """A template account that is asked for at the old host is found at the new one, after one renewal."""
    at = await stage()
    await _ask(at)
    at.partner.move()
    catalogue = tmp_path / "products.toml"
    catalogue.write_text('["EVAL-50K"]\ntemplateAccountId = 11\ninitialBalance = 50000\n')
    _, checks, _ = await _ask(at, PRODUCTS_FILE=str(catalogue))
    assert checks["template of EVAL-50K"]["verdict"] == "ok"
    assert checks["demo host"]["seen"].endswith("(from: renewal)")
    assert at.state["sessions"]["renewals"] == 1


async def test_a_key_that_may_not_read_risks_is_named_before_it_is_needed(stage: Stages) -> None:
    """By an account of the ledger where no catalogue names one. It is a failure if the bridge is to publish risk
    statuses, and a warning else; the line names the permission class, and what needs it.
    """
    at = await stage(SandboxConfig(risks_permission="Denied"))
    _, checks, _ = await _ask(at)
    assert checks["risk limits"]["verdict"] == "skipped"
    await at.rows(
        "insert into business_order (kind, order_id, flow_id, state, account_id, asked_at)"
        " values ('purchased', '1', gen_random_uuid(), 'succeeded', 11, now())"
    )
    for switch, verdict in (("off", "warning"), ("on", "failed")):
        _, checks, _ = await _ask(at, BRIDGE_RISK_STATUS=switch)
        assert checks["risk limits"]["verdict"] == verdict
        assert "account.locked" in checks["risk limits"]["fix"]
    assert "Risks: Read" in checks["risk limits"]["fix"]


async def test_a_host_that_stays_wrong_is_a_failure(stage: Stages, tmp_path: Any) -> None:
    """The line says what it answers; the exit code is 1."""
    at = await stage(SandboxConfig(api_hosts="never", wrong_host="421"))
    await _ask(at)
    at.partner.move()
    catalogue = tmp_path / "products.toml"
    catalogue.write_text('["EVAL-50K"]\ntemplateAccountId = 11\ninitialBalance = 50000\n')
    code, checks, _ = await _ask(at, PRODUCTS_FILE=str(catalogue))
    assert code == 1
    assert checks["demo host"]["verdict"] == "failed"
    assert "421" in checks["demo host"]["seen"]
    assert "TRADOVATE_DEMO_URL" in checks["demo host"]["fix"]


async def test_a_returned_host_that_is_not_used_is_a_warning(stage: Stages) -> None:
    """The value and the reason are shown, and what to do if it is Tradovate's; the host of the settings stays."""
    at = await stage(SandboxConfig(api_host_values={"demo": "evil.invalid"}))
    _, checks, _ = await _ask(at)
    assert checks["demo host"]["verdict"] == "warning"
    assert checks["demo host"]["seen"] == (
        f"127.0.0.1:{at.partner.port}, WebSocket 127.0.0.1:{at.partner.port} (from: settings);"
        " Tradovate returned 'evil.invalid', which is not used: it is not in TRADOVATE_TRUSTED_HOSTS"
    )
    assert "TRADOVATE_TRUSTED_HOSTS" in checks["demo host"]["fix"]
    assert checks["live host"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("days", "verdict", "said"),
    [
        (180, "ok", "in 180.0 days"),
        (13, "warning", "in 13.0 days"),
        (-1, "failed", "it ended on"),
        (None, "ok", "no end"),
    ],
)
async def test_the_end_of_the_password(stage: Stages, days: float | None, verdict: str, said: str) -> None:
    """Within two weeks it is a warning, after it a failure, with what to do."""
    at = await stage(SandboxConfig(password_days=days))
    _, checks, _ = await _ask(at)
    assert checks["password"]["verdict"] == verdict
    assert said in checks["password"]["seen"]


async def test_a_login_that_waits_for_an_approval_says_what_to_do(stage: Stages) -> None:
    """Neither token nor error text: the e-mail, MFA and the device id are named; a second doctor does not try."""
    at = await stage(SandboxConfig(approval_needed=True))
    for _ in range(2):
        code, checks, _ = await _ask(at)
        assert code == 1
        for word in ("e-mail", "MFA", "TRADOVATE_DEVICE_ID"):
            assert word in checks["tradovate login"]["seen"]
        assert "holds clear" in checks["tradovate login"]["fix"]
    assert at.count("/auth/accesstokenrequest") == 1


async def test_401_to_everything_after_a_good_login_points_to_the_cause(stage: Stages) -> None:
    """An unapproved device and a key without permissions look the same: both are named."""
    at = await stage()
    at.fault("status_before", "/tradovatesubscriptionplan/list", status=401)
    at.fault("status_before", "/entitlement/item", status=401)
    at.fault("status_before", "/adminalert/find", status=401)
    code, checks, _ = await _ask(at)
    assert code == 1
    assert "e-mail" in checks["permissions"]["fix"]
    assert "API key" in checks["permissions"]["fix"]


async def test_the_way_out_is_shown_without_the_proxys_password(stage: Stages) -> None:
    """Proxy and CA are named; an unreachable proxy is the reason why there is no login."""
    at = await stage()
    code, checks, output = await _ask(at, TRADOVATE_PROXY_URL="http://user:hunter2@127.0.0.1:9")
    assert code == 1
    assert checks["way out"]["seen"].startswith("through the proxy http://127.0.0.1:9;")
    assert "no connection" in checks["tradovate login"]["seen"]
    assert "hunter2" not in output
    assert "hunter2" not in repr(RunSettings.model_fields)


async def test_what_is_not_read_is_not_reported_as_missing(stage: Stages, tmp_path: Any) -> None:
    """`{}` for a plan, a template account or an entitlement, and a host that answers 404 to everything, say nothing of
    what the settings name: no line says that it is not there.
    """
    at = await stage()
    catalogue = tmp_path / "products.toml"
    catalogue.write_text('["EVAL-50K"]\ntemplateAccountId = 11\ninitialBalance = 50000\n')
    for path in ("/tradovatesubscriptionplan/list", "/entitlement/item"):
        at.fault("garbage", path, form="object", effect=False)
    at.fault("status_before", domain="demo", status=404)
    _, checks, _ = await _ask(at, PRODUCTS_FILE=str(catalogue))
    assert checks["subscription plan"]["seen"] == (
        "tradovateSubscriptionPlan/list is not answered in its documented form"
    )
    assert checks["entitlement"]["seen"] == "entitlement/item is not answered in its documented form"
    assert checks["template of EVAL-50K"]["seen"].startswith("DEMO answers no read")
