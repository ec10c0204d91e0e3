"""The manifests, held against Kubernetes' own schemas and the program's commands, settings and health."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest

from tests.deploy.files import DEPLOY, GROUPS, SETTINGS, manifest, manifests, one_yaml, why_not_a_command
from tests.support.processes import free_port
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.bridge.bridge import Bridge
from worker.products import load_products
from worker.settings import BridgeSettings, RunSettings, load
from worker.wiring.bridge import new_bridge
from worker.wiring.replica import Replica

_WORKLOADS = [
    ("Deployment", "worker"), ("Deployment", "bridge"), ("Job", "db-upgrade"), ("Job", "topics-create"),
    ("CronJob", "reconcile"),
]  # fmt: skip


def _pod(kind: str, name: str) -> dict[str, Any]:
    spec = manifest(kind, name)["spec"]
    pod: dict[str, Any] = (spec["jobTemplate"]["spec"] if kind == "CronJob" else spec)["template"]["spec"]
    return pod


def _container(kind: str, name: str) -> dict[str, Any]:
    (container,) = _pod(kind, name)["containers"]
    found: dict[str, Any] = container
    return found


@pytest.mark.parametrize(
    ("file", "document"), list(manifests()), ids=lambda each: each if isinstance(each, str) else ""
)
def test_manifest_has_the_form_that_kubernetes_asks_for(file: str, document: dict[str, Any]) -> None:
    """Each object is valid by Kubernetes' schema, with no field that it does not know."""
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    if document["kind"] != "Namespace":
        assert document["metadata"]["namespace"] == "tradovate-worker"


def test_kustomization_takes_what_lasts() -> None:
    """All but the jobs, which cannot be applied twice, and the example of the secrets."""
    there = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    taken = set(one_yaml("kubernetes/kustomization.yaml")["resources"])
    assert taken == there - {"kustomization.yaml", "jobs.yaml", "secret.example.yaml"}


@pytest.mark.parametrize(("kind", "name"), _WORKLOADS)
def test_container_has_a_command_and_all_its_settings(kind: str, name: str, tmp_path: Path) -> None:
    """What a container runs exists; each name that it is given is a setting; what has no default is set."""
    container = _container(kind, name)
    assert why_not_a_command(container["args"]) is None
    settings = dict(manifest("ConfigMap", "settings")["data"])
    secrets = manifest("Secret", "secrets")["stringData"]
    assert set(settings) | set(secrets) <= SETTINGS
    assert not set(settings) & set(secrets)
    for setting, value in secrets.items():
        # As Kubernetes mounts a secret: links into a directory that is replaced as a whole.
        (tmp_path / "..data").mkdir(exist_ok=True)
        (tmp_path / "..data" / setting).write_text(value)
        (tmp_path / setting).symlink_to(tmp_path / "..data" / setting)
    (tmp_path / "products").write_text(manifest("ConfigMap", "products")["data"]["products.toml"])
    if container["args"] == ["run"]:
        mounted = next(each["mountPath"] for each in container["volumeMounts"] if each["name"] == "products")
        assert settings["PRODUCTS_FILE"] == f"{mounted}/products.toml"
        assert load_products(tmp_path / "products")
    settings["PRODUCTS_FILE"] = str(tmp_path / "products")
    load(GROUPS[container["args"][0]], settings, secrets_dir=tmp_path)


@pytest.mark.parametrize(("kind", "name"), _WORKLOADS)
def test_pod_may_do_nothing_that_it_need_not(kind: str, name: str) -> None:
    """No root, no writes but to /tmp, no capabilities, no token of Kubernetes', no settings out of service names."""
    pod, container = _pod(kind, name), _container(kind, name)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert [path for path, each in mounts.items() if not each.get("readOnly")] == ["/tmp"]
    assert "/run/secrets" in mounts
    assert {each["name"] for each in mounts.values()} == {each["name"] for each in pod["volumes"]}
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}


@pytest.mark.parametrize("name", ["worker", "bridge"])
def test_roll_out_keeps_all_replicas_and_the_grace_time(name: str) -> None:
    """A new pod comes before an old one goes, an eviction takes one at a time, and what ends within 25 s gets 30."""
    deployment = manifest("Deployment", name)
    assert deployment["spec"]["replicas"] >= 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert _pod("Deployment", name)["terminationGracePeriodSeconds"] == 30
    budget = manifest("PodDisruptionBudget", name)["spec"]
    assert budget == {"maxUnavailable": 1, "selector": deployment["spec"]["selector"]}
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    startup = _container("Deployment", name)["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] < deployment["spec"]["progressDeadlineSeconds"]


def test_console_is_reached_while_a_replica_is_not_ready() -> None:
    """The console's service leads to the workers, ready or not."""
    service = manifest("Service", "console")["spec"]
    assert service["publishNotReadyAddresses"]
    assert service["selector"] == manifest("Deployment", "worker")["spec"]["selector"]["matchLabels"]
    named = {each["name"]: each["containerPort"] for each in _container("Deployment", "worker")["ports"]}
    assert named[service["ports"][0]["targetPort"]] == 8000


def test_network_policy_lets_out_what_the_settings_name() -> None:
    """Kafka's port, PostgreSQL's, and Tradovate's are open, and nothing comes in but to the HTTP port."""
    policy = manifest("NetworkPolicy", "tradovate-worker")["spec"]
    out = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    servers = manifest("ConfigMap", "settings")["data"]["KAFKA_BOOTSTRAP_SERVERS"].split(",")
    assert {int(server.rsplit(":", 1)[1]) for server in servers} | {5432, 443, 53} <= out
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {8000}
    assert policy["podSelector"]["matchLabels"].items() <= _labels("worker").items() & _labels("bridge").items()


def _labels(name: str) -> dict[str, str]:
    labels: dict[str, str] = manifest("Deployment", name)["spec"]["template"]["metadata"]["labels"]
    return labels


async def _startup_probe(name: str, address: str) -> tuple[int, str]:
    command = _container("Deployment", name)["startupProbe"]["exec"]["command"]
    assert command[:2] == ["python", "-c"]
    probe = await asyncio.create_subprocess_exec(
        sys.executable,
        *command[1:],
        env={"PATH": os.environ["PATH"], "HTTP_PORT": address.rsplit(":", 1)[1]},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await probe.communicate()
    assert probe.returncode is not None
    return probe.returncode, said.decode()


async def test_roll_out_waits_for_database_and_kafka_and_not_for_a_lock_out(stage: Stages) -> None:
    """The start-up probe passes a replica that works, also one that is locked out and whose login was rejected, for
    which /health/ready is 503; liveness, which is readiness too, passes it as well.
    """
    play = await stage()
    here = await play.replica()
    assert here.replica.served is not None
    address = here.replica.served.address
    assert await _startup_probe("worker", address) == (0, "")
    await play.rows("insert into hold (scope, reason) values ('login', 'rejected') returning id")
    await play.rows(
        "insert into hold (scope, reason, until)"
        " values ('all', '429', clock_timestamp() + interval '1 hour') returning id"
    )
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert {name for name, why in ready.json()["checks"].items() if why != "ok"} == {"lockout", "login"}
        for probe in ("readinessProbe", "livenessProbe"):
            asked = _container("Deployment", "worker")[probe]["httpGet"]["path"]
            assert (await client.get(asked)).status_code == 200
    assert await _startup_probe("worker", address) == (0, "")


@pytest.mark.parametrize("name", ["worker", "bridge"])
async def test_roll_out_with_wrong_settings_stops(name: str, stage: Stages) -> None:
    """The start-up probe of a process that cannot reach its database fails, and says what is away."""
    play = await stage()
    nowhere = {**play.env, "DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/none"}
    process: Replica | Bridge = (
        Replica(load(RunSettings, nowhere), {}) if name == "worker" else new_bridge(load(BridgeSettings, nowhere))
    )
    running = asyncio.create_task(process.run())
    served = await eventually(lambda: process.served, 10)
    assert served is not None
    code, said = await _startup_probe(name, served.address)
    process.stopping.set()
    await running
    assert code == 1
    assert "database" in said
