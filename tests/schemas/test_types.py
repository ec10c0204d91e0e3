"""What generators of code make of the exported documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schemas.bridged import BRIDGED
from schemas.events import EVENTS
from schemas.export import export
from schemas.outcomes import OUTCOME_EXAMPLES
from tests.schemas.inputs import changed
from tests.support.node import run, run_script

_TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "exactOptionalPropertyTypes": True,
        "noEmit": True,
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "types": [],
    },
    "files": ["samples.ts"],
}


@dataclass(frozen=True)
class Made:
    """What the generators made, in `workplace`, and what the AsyncAPI parser said."""

    workplace: Path
    diagnostics: list[dict[str, Any]]

    @property
    def modelina(self) -> str:
        """All types by Modelina."""
        return (self.workplace / "modelina.ts").read_text()

    @property
    def json2ts(self) -> dict[str, str]:
        """Topic -> its types by json-schema-to-typescript."""
        return {path.stem: path.read_text() for path in sorted((self.workplace / "json2ts").iterdir())}


@pytest.fixture(scope="module")
def made(node_reason: str, tmp_path_factory: pytest.TempPathFactory) -> Made | None:
    """All generators have run once."""
    if node_reason:
        return None
    documents, workplace = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("work")
    export(documents)
    said = run_script("generate.mjs", str(documents), ".", workplace=workplace)
    return Made(workplace, said["diagnostics"])


@pytest.fixture
def tools(node: None, made: Made | None) -> Made:
    """What the generators made."""
    assert made is not None
    return made


def test_the_asyncapi_parser_has_nothing_to_say(tools: Made) -> None:
    """The official parser finds neither an error nor a warning; newer versions of AsyncAPI Modelina does not read."""
    assert {each["code"] for each in tools.diagnostics} <= {"asyncapi-latest-version"}


def test_types_have_the_names_of_their_records(tools: Made) -> None:
    """Each record and each part has a type with its own name: none is named after an id, a path or a number."""
    records = {model.__name__ for model in EVENTS.values()}
    records |= {f"{name}Outcome" for name in records} | {model.__name__ for model in BRIDGED.values()}
    parts = {
        "NewUser", "UserRef", "ContactInfo", "Account", "Application", "PreTradeRisk", "PreTradeRiskParameter",
        "PostTradeRisk", "RiskStatus", "Country", "ProductType", "TotalBy", "VerificationStatus", "TrailingMode",
        "AccountDomain", "MarginType", "RiskChange", "LockAction", "OutcomeStatus", "ErrorCode",
    }  # fmt: skip
    assert set(re.findall(r"^export (?:interface|type) (\w+)", tools.modelina, re.MULTILINE)) == records | parts
    by_json2ts = "\n".join(tools.json2ts.values())
    assert set(re.findall(r"^export (?:interface|type) (\w+)", by_json2ts, re.MULTILINE)) == records | parts


_ANY_BY_MODELINA = {
    "'additionalProperties'?: Record<string, any>;",  # unknown fields
    "'signal': Record<string, any> | null;",  # an object of Tradovate's
    "'userId'?: any;",  # null alone, which Modelina knows no type for
}


def test_no_type_is_any(tools: Made) -> None:
    """No record is `any` nor a bare union of conditions: each is an interface, and each of its fields has a type."""
    assert set(re.findall(r".*\bany\b.*", tools.modelina)) == {f"  {line}" for line in _ANY_BY_MODELINA}
    for model in (*EVENTS.values(), *BRIDGED.values()):
        assert f"export interface {model.__name__} {{" in tools.modelina
    for topic, text in tools.json2ts.items():
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        assert not re.search(r"\bany\b|^export type \w+ = \{", code, re.MULTILINE), topic


def _good() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Topic, type and body of every example."""
    for topic, event in EVENTS.items():
        name = event.__name__
        for body in event.examples:
            yield topic, name, body
        for outcome in OUTCOME_EXAMPLES:
            yield f"{topic}.outcome", f"{name}Outcome", {**outcome, "topic": topic}
    for topic, model in BRIDGED.items():
        for body in model.examples:
            yield topic, model.__name__, body


_BAD = (
    ("trader.purchased", "orderId", 5),
    ("trader.purchased", "orderId", None),
    ("trader.purchased", "user", {"userId": "x"}),
    ("trader.purchased", "user", {"name": "jane77"}),
    ("trader.purchased", "contactInfo.country", "ZZ"),
    ("trader.purchased", "account.postTradeRisk.dailyLosAutoLiq", 1),
    ("trader.passed", "application.marginType", "speculator"),
    ("trader.passed", "documents", [1, "2", 3]),
    ("account.reset", "tradeDate", None),
    ("risk.changed", "postTradeRisk.dailyLosAutoLiq", 1),
    ("account.locked", "action", "unlock"),
)


def _samples(source: str, module: str) -> str:
    """A program that uses each example as what it is, and each bad one where the compiler has to refuse it."""
    homes = {name: module.format(topic=topic) for topic, name, _ in _good()}
    lines = [f'import type {{ {name} as {name}{source} }} from "{home}";' for name, home in homes.items()]
    for number, (_, name, body) in enumerate(_good()):
        lines.append(f"export const good{source}{number}: {name}{source} = {json.dumps(body)};")
    for number, (topic, path, value) in enumerate(_BAD):
        bad = json.dumps(changed(EVENTS[topic].examples[0], path, value))
        lines.append("// @ts-expect-error")
        lines.append(f"export const bad{source}{number}: {EVENTS[topic].__name__}{source} = {bad};")
    return "\n".join(lines) + "\n"


def test_examples_are_what_the_types_say(tools: Made) -> None:
    """By both generators, `tsc --strict` takes every example as its type, and refuses what the types exclude."""
    (tools.workplace / "tsconfig.json").write_text(json.dumps(_TSCONFIG))
    samples = _samples("A", "./json2ts/{topic}") + _samples("B", "./modelina")
    (tools.workplace / "samples.ts").write_text(samples)
    run(["node", "node_modules/typescript/bin/tsc", "--project", "."], tools.workplace)
