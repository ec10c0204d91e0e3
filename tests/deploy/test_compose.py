"""compose.yaml, held against its schema, the program's commands and settings, and the simulated partner."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.deploy.files import (
    DEPLOY,
    GROUPS,
    SETTINGS,
    one_yaml,
    secret_files,
    why_not_a_command,
)
from worker.products import load_products
from worker.sandbox import Sandbox, serve, settings_for
from worker.settings import BridgeSettings, RunSettings, load

_FROM_THE_IMAGE = {"HTTP_HOST", "HTTP_PORT"}


def _services() -> Mapping[str, dict[str, Any]]:
    services: Mapping[str, dict[str, Any]] = one_yaml("compose.yaml")["services"]
    return services


def _ours() -> Mapping[str, dict[str, Any]]:
    return {name: service for name, service in _services().items() if "tradovate-worker" in service["image"]}


def test_compose_file_has_the_form_that_compose_asks_for() -> None:
    """The file is valid by the schema of the compose specification."""
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(one_yaml("compose.yaml"), schema)


def test_compose_starts_what_was_promised() -> None:
    """Kafka, PostgreSQL, the sandbox, two workers, two bridges, Prometheus and Grafana."""
    services = _services()
    assert set(services) == {
        "kafka", "postgres", "sandbox", "db-upgrade", "topics-create", "worker", "bridge", "prometheus", "grafana",
    }  # fmt: skip
    assert services["worker"]["deploy"]["replicas"] == services["bridge"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", _ours())
def test_service_runs_a_command_of_the_program(name: str) -> None:
    """What a container runs is a command that the program understands."""
    assert why_not_a_command(_ours()[name]["command"]) is None


@pytest.mark.parametrize("name", _ours())
def test_service_has_every_setting_that_its_command_needs(name: str, tmp_path: Path) -> None:
    """Each name is a setting of the program, and with the example secrets the command's settings are whole."""
    service, secrets = _ours()[name], one_yaml("compose.yaml")["secrets"]
    environment = dict(service.get("environment", {}))
    assert set(environment) <= SETTINGS
    assert set(service.get("secrets", ())) <= SETTINGS
    for secret in service.get("secrets", ()):
        source = re.sub(r"\$\{SECRETS:-(.*?)\}", r"\1", secrets[secret]["file"])
        (tmp_path / secret).write_text((DEPLOY / source).read_text())
    if "PRODUCTS_FILE" in environment:
        environment["PRODUCTS_FILE"] = str(_products())
        if service["command"] == ["run"]:
            mounts = [(each["source"], each["target"]) for each in service["configs"]]
            assert mounts == [("products", service["environment"]["PRODUCTS_FILE"])]
    group = GROUPS.get(service["command"][0])
    if group is not None:
        load(group, environment, secrets_dir=tmp_path)


def _products() -> Path:
    return DEPLOY / str(one_yaml("compose.yaml")["configs"]["products"]["file"])


async def test_settings_fit_the_simulated_partner(tmp_path: Path) -> None:
    """Worker and bridge are configured with what the sandbox itself says, and with its templates."""
    partner = await serve(Sandbox())
    wanted = settings_for(partner)
    await partner.stop()
    given = {**_services()["worker"]["environment"]}
    given |= {each.name: each.read_text().strip() for each in secret_files().iterdir()}
    address = f"http://{'sandbox'}:8765"
    for name, value in wanted.items():
        if not name.endswith("_WS_URL"):  # derived from the others
            assert given[name] == value.replace(partner.url, address), name
    settings = load(RunSettings, {**given, "PRODUCTS_FILE": str(_products())})
    assert settings.live_ws_url == wanted["TRADOVATE_LIVE_WS_URL"].replace(partner.url[4:], address[4:])
    assert {account.template_account_id for account in load_products(_products()).values()} <= {11, 12, 13}


def test_containers_may_do_nothing_that_they_need_not() -> None:
    """Each container of ours has a read-only file system, no capabilities, and no way to gain any."""
    for name, service in _ours().items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"] == ["/tmp"]
        assert service["init"]
        assert "user" not in service  # the image's own


def test_long_running_containers_get_the_grace_time() -> None:
    """Compose waits thirty seconds for what ends within twenty-five."""
    for name in ("worker", "bridge"):
        assert _services()[name]["stop_grace_period"] == "30s"


def test_services_wait_for_what_they_need() -> None:
    """Migrations and topics come before workers and bridges, and everything waited for says when it is there."""
    services = _services()
    for name in ("worker", "bridge"):
        needs = {each: how["condition"] for each, how in services[name]["depends_on"].items()}
        assert needs == {
            "db-upgrade": "service_completed_successfully",
            "topics-create": "service_completed_successfully",
            "sandbox": "service_healthy",
        }
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert services[other]["healthcheck"]["test"][0] == "CMD", f"{name} waits for {other}"
    assert services["db-upgrade"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["topics-create"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}


def test_only_this_machine_reaches_the_ports() -> None:
    """Every published port is bound to the loopback address."""
    for service in _services().values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_files_that_are_mounted_are_there() -> None:
    """Every bind mount, configuration and example secret exists."""
    compose = one_yaml("compose.yaml")
    for service in _services().values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"]
    assert {each.name for each in secret_files().iterdir()} == set(compose["secrets"])


def test_prometheus_scrapes_the_services_at_their_port() -> None:
    """The scrape jobs name compose's services, at the image's port."""
    for job in one_yaml("prometheus/prometheus.yml")["scrape_configs"]:
        (found,) = job["dns_sd_configs"]
        assert found["names"] == [job["job_name"].removeprefix("tradovate-")]
        assert found["names"][0] in _services()
        assert found["port"] == 8000
    assert not _FROM_THE_IMAGE & set(_services()["worker"]["environment"])


def test_bridge_and_worker_share_their_settings() -> None:
    """One budget, one session and one ledger come from the same settings."""
    assert _services()["bridge"]["environment"] == _services()["worker"]["environment"]
    assert set(BridgeSettings.model_fields) < set(RunSettings.model_fields)
