"""The files under deploy/, read; and what the program knows, to hold them against."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import ROOT
from worker.cli.application import application
from worker.cli.reconcile import ReconcileSettings
from worker.settings import BridgeSettings, DatabaseSettings, Group, KafkaSettings, RunSettings

DEPLOY = ROOT / "deploy"
IMAGE = "tradovate-worker"

GROUPS: Mapping[str, type[Group]] = {
    "run": RunSettings,
    "bridge": BridgeSettings,
    "db": DatabaseSettings,
    "topics": KafkaSettings,
    "reconcile": ReconcileSettings,
}
"""What the commands of long-running and one-shot containers ask for."""

SETTINGS = frozenset(name.upper() for name in RunSettings.model_fields)


def one_yaml(name: str) -> Any:
    """The only document of a file."""
    return yaml.safe_load((DEPLOY / name).read_text())


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every Kubernetes object, with its file's name; kustomization.yaml is none."""
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in yaml.safe_load_all(path.read_text()):
                yield path.name, document


def manifest(kind: str, name: str) -> dict[str, Any]:
    """One of them."""
    found = [each for _, each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def board() -> dict[str, Any]:
    """The Grafana board."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana/tradovate-worker.json").read_text())
    return found


def alerts() -> list[dict[str, Any]]:
    """The alerting rules."""
    return [rule for group in one_yaml("prometheus/alerts.yml")["groups"] for rule in group["rules"] if "alert" in rule]


def expressions() -> dict[str, str]:
    """Every PromQL expression of rules and board, by where it stands."""
    found = {}
    for group in one_yaml("prometheus/alerts.yml")["groups"]:
        for rule in group["rules"]:
            found[rule.get("alert") or rule["record"]] = rule["expr"]
    for panel in board()["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return found


_COMMAND = re.compile(r"`tradovate-worker ([^`]+)`|^(?:kubectl exec .* -- )?tradovate-worker (.+)$", re.MULTILINE)


def commands_in(text: str) -> list[str]:
    """What a text tells people to type after `tradovate-worker`: between back-quotes, or on a line of its own."""
    return [" ".join((quoted or plain).partition(" #")[0].split()) for quoted, plain in _COMMAND.findall(text)]


@cache
def _application() -> Any:
    return application()


def why_not_a_command(command: str | Sequence[str]) -> str | None:
    """What the program would not understand of a command, or None."""
    words = shlex.split(re.sub(r"\{\{.*?\}\}", "X", command)) if isinstance(command, str) else list(command)
    known: Any = _application()
    options = {"--help", "--version"}
    takes = 0
    while words and not words[0].startswith("-"):
        if hasattr(known, "get_command"):
            found = known.get_command(None, words[0])
            if found is None:
                return f"there is no command {words[0]}"
            known = found
            options = {option for each in known.params for option in each.opts} | {"--help"}
            takes = sum(each.param_type_name == "argument" for each in known.params)
            words.pop(0)
            continue
        break
    for word in words:
        if word.startswith("--"):
            if word.partition("=")[0] not in options:
                return f"{known.name} has no {word}"
        elif word.startswith("-") and word not in options and word != "-":
            return f"{known.name} has no {word}"
    flags = sum(word.startswith("-") for word in words)
    if not flags and len(words) > takes:
        return f"{known.name} takes {takes} arguments, not {words}"
    return None


def dockerfile() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order: the word, and its argument with continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def secret_files() -> Path:
    """The example secrets of compose.yaml."""
    return DEPLOY / "compose/secrets"


def notes() -> str:
    """The operating notes."""
    return (DEPLOY / "README.md").read_text()


def pinned(file: str) -> set[str]:
    """The packages that a file of pins names."""
    return set(re.findall(r"^([a-z0-9][a-z0-9.-]*)==", (DEPLOY / file).read_text(), re.MULTILINE))
