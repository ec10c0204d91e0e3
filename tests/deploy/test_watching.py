"""The board and the alerts, held against the program's own metrics, commands and settings."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.files import DEPLOY, alerts, board, commands_in, expressions, one_yaml, why_not_a_command
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.kafka.admin import ensure_topics
from worker.kafka.topics import INPUT_TOPICS
from worker.settings import BridgeSettings, load
from worker.version import VERSION
from worker.wiring.bridge import new_bridge

_METRIC = re.compile(r"\b(?:tradovate_worker|process)_[a-z_]+")
_SELECTOR = re.compile(r"\b(tradovate_worker_[a-z_]+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_PROMETHEUS_OWN = {"job", "instance"}
_OPEN_ENDED = {("tradovate_worker_calls_total", "result"), ("tradovate_worker_calls_total", "operation")}
"""Their values appear with the first call that has them."""

CONTRACT = {
    "events_total": {"topic", "result"},
    "outcomes_total": {"topic", "status"},
    "flows": {"topic", "state"},
    "oldest_waiting_flow_seconds": {"topic"},
    "calls_total": {"operation", "result"},
    "call_items_bucket": {"operation", "le"},
    "call_seconds_bucket": {"operation", "le"},
    "budget_used_calls": set(),
    "budget_left_calls": set(),
    "lockout_seconds_left": set(),
    "token_seconds_left": set(),
    "password_seconds_left": set(),
    "consumer_lag_records": {"topic"},
    "dead_letters_total": {"topic", "reason"},
    "bridge_connected": {"domain"},
    "signals_bridged_total": set(),
    "build_info": {"version"},
    "outcome_seconds_bucket": {"topic", "le"},
}
"""Contract section 6, with the prefix `tradovate_worker_`."""

PROCESS = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)
"""The standard metrics of a process, without a prefix."""

TESTS = sorted(path.name for path in (DEPLOY / "prometheus").glob("*.test.yml"))

Samples = Mapping[str, Mapping[str, set[str]]]
"""By metric and label, the values seen."""


def _samples(*pages: str) -> Samples:
    found: dict[str, dict[str, set[str]]] = {}
    for page in pages:
        for family in text_string_to_metric_families(page):
            assert family.documentation, f"{family.name} has no help"
            for sample in family.samples:
                labels = found.setdefault(sample.name, defaultdict(set))
                for label, value in sample.labels.items():
                    labels[label].add(value)
    return found


@pytest.fixture
async def samples(stage: Stages) -> Samples:
    """What /metrics of a worker that has carried out a purchase, and of a bridge that listens, show."""
    play = await stage()
    replica = await play.replica()
    event = purchase(1)
    await play.buy(event)
    await play.outcome(event)
    settings = load(BridgeSettings, env={**play.env, "BRIDGE_RISK_STATUS": "on"})
    if play.embedded is None:
        await ensure_topics(settings)
    else:
        names = [settings.kafka_topic_prefix + name for name in ("md.signed", "admin.alert", "account.risk_status")]
        await asyncio.to_thread(play.embedded.touch_topics, names)
    bridge = new_bridge(settings)
    running = asyncio.create_task(bridge.run())
    try:
        await eventually(lambda: bridge.served, 10)
        async with httpx.AsyncClient(trust_env=False) as client:

            async def listens() -> str:
                assert not running.done(), running
                assert bridge.served is not None
                page = (await client.get(f"{bridge.served.address}/metrics")).text
                assert 'bridge_connected{domain="live"} 1' in page
                return page

            bridges = await eventually(listens, 20)
            assert replica.replica.served is not None
            return _samples((await client.get(f"{replica.replica.served.address}/metrics")).text, bridges)
    finally:
        bridge.stopping.set()
        await running


async def test_metrics_keep_the_contract_and_the_board_and_alerts_name_no_other(samples: Samples) -> None:
    """Every metric of the contract is there with its labels; every one that board and alerts name exists, with the
    labels and values that they ask for.
    """
    for name, labels in CONTRACT.items():
        assert set(samples[f"tradovate_worker_{name}"]) == labels, name
    assert samples["tradovate_worker_build_info"]["version"] == {VERSION}
    assert set(PROCESS) <= set(samples)
    for where, expression in expressions().items():
        for metric in _METRIC.findall(expression.replace("tradovate_worker:", "")):
            assert metric in samples, f"{where} asks for {metric}"
        for metric, matchers in _SELECTOR.findall(expression):
            for label, operator, wanted in _MATCHER.findall(matchers):
                known = samples[metric]
                assert label in known or label in _PROMETHEUS_OWN, f"{where}: {metric} has no label {label}"
                if label in _PROMETHEUS_OWN or (metric, label) in _OPEN_ENDED:
                    continue
                for value in wanted.split("|") if "~" in operator else [wanted]:
                    assert value in known[label], f"{where}: {metric} has no {label} {value}: {known[label]}"
        for grouping in re.findall(r"\bby \(([^)]*)\)", expression):
            labels = {label for values in samples.values() for label in values} | _PROMETHEUS_OWN
            assert set(re.split(r",\s*", grouping)) <= labels, f"{where}: by ({grouping})"


def test_rules_and_configuration_pass_prometheus_own_checker(promtool: str) -> None:
    """Prometheus' own checker finds no fault with rules and scrape configuration, and the alerts' unit tests pass."""
    for arguments in (["check", "config", "prometheus.yml"], ["test", "rules", *TESTS]):
        done = subprocess.run([promtool, *arguments], cwd=DEPLOY / "prometheus", capture_output=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_queries_of_the_board_are_promql(promtool: str, tmp_path: Path) -> None:
    """Each expression of the board can be evaluated by Prometheus."""
    rules = [
        {"record": f"board:{place}", "expr": expression.replace("$__rate_interval", "5m")}
        for place, expression in enumerate(expressions().values())
    ]
    (tmp_path / "board.json").write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(tmp_path / "board.json")], capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_each_alert_is_tested_both_ways() -> None:
    """The alerts' unit tests expect each alert to speak somewhere, and to be silent somewhere."""
    tests = [each for file in TESTS for each in one_yaml(f"prometheus/{file}")["tests"]]
    loud, silent = set[str](), set[str]()
    names = {rule["alert"] for rule in alerts()}
    for each in tests:
        for check in each.get("promql_expr_test", ()):
            pattern = re.search(r'alertname=~?"([^"]*)"', check["expr"])
            matched = {name for name in names if pattern and re.fullmatch(pattern[1], name)}
            (loud if check["exp_samples"] else silent).update(matched)
            if "count(ALERTS)" in check["expr"]:
                silent |= names
        loud |= {check["alertname"] for check in each.get("alert_rule_test", ()) if check["exp_alerts"]}
    assert loud == names
    assert silent == names


def test_each_alert_says_what_to_do() -> None:
    """Each alert has a severity, a summary, a description, and an action with a command of this program; each command
    that it names is one that the program understands.
    """
    assert len(alerts()) == len({rule["alert"] for rule in alerts()})
    for rule in alerts():
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "action"}, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        commands = [command for note in notes.values() for command in commands_in(note)]
        assert commands, f"{rule['alert']} names no command"
        for command in commands:
            assert why_not_a_command(command) is None, f"{rule['alert']}: {command}: {why_not_a_command(command)}"


def test_each_topic_has_an_alert_for_flows_that_wait() -> None:
    """No topic's flows can wait for ever unnoticed."""
    waited_for = [
        _wanted(INPUT_TOPICS, operator, wanted)
        for rule in alerts()
        for _, matchers in _SELECTOR.findall(rule["expr"])
        for label, operator, wanted in _MATCHER.findall(matchers)
        if label == "topic" and "oldest_waiting" in rule["expr"]
    ]
    assert sorted(topic for topics in waited_for for topic in topics) == sorted(INPUT_TOPICS)


def _wanted(known: Iterable[str], operator: str, wanted: str) -> set[str]:
    """Those of the known values that a matcher of a label lets through."""
    named = set(wanted.split("|"))
    assert named <= set(known)
    return set(known) - named if operator.startswith("!") else named


def test_panels_of_the_board_are_whole() -> None:
    """Each panel has a place of its own, a description, a query, and the datasource that an operator chooses."""
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another"
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            assert panel["targets"], panel["title"]
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        for command in commands_in(panel.get("description", "")):
            assert why_not_a_command(command) is None, f"{panel['title']}: {command}"
