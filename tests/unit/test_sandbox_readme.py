"""The sandbox's README says what the sandbox does."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_args

import worker.sandbox
from worker.sandbox import Sandbox, SandboxConfig, read_faults, with_switches
from worker.sandbox.fault_rules import Action, parse_rule

README = Path(worker.sandbox.__file__).with_name("README.md").read_text()


def test_every_switch_is_in_the_readme_with_its_default() -> None:
    """Each switch has a row, and the default that stands there is its default."""
    rows = [line.split(" | ") for line in README.splitlines() if line.startswith("| `")]
    defaults = {row[0].strip("|` "): row[2].strip("` ") for row in rows if len(row) >= 4}
    words = {True: "true", False: "false", None: "null"}
    config = SandboxConfig()
    for item in fields(config):
        value = getattr(config, item.name)
        assert defaults[item.name] == (words[value] if isinstance(value, bool | None) else str(value))


def test_every_action_is_in_the_readme() -> None:
    """Each action of a fault rule is explained."""
    assert [action for action in get_args(Action) if f"`{action}`" not in README] == []


def test_every_control_call_is_in_the_readme() -> None:
    """Each control call has its row."""
    assert [path for _, path in Sandbox().control.routes() if path not in README] == []


def test_the_readmes_faults_file_can_be_used(tmp_path: Path) -> None:
    """The example is a faults file as it stands."""
    path = tmp_path / "faults.toml"
    path.write_text(README.split("```toml\n")[1].split("```")[0])
    file = read_faults(path)
    assert with_switches(SandboxConfig(), file.switches).partner_ms == 50
    assert [parse_rule(rule).action for rule in file.faults] == ["cut_after", "late", "poison"]
