"""The operating notes, held against the program, the files beside them, and the alerts."""

from __future__ import annotations

import re

import pytest

from tests.deploy.files import DEPLOY, SETTINGS, alerts, commands_in, notes, why_not_a_command
from tests.support.processes import ROOT


def test_every_command_of_the_notes_exists() -> None:
    """Each command in the operating notes is one that the program understands, with its options."""
    commands = commands_in(notes().replace("SECRET_KEY=NEW,OLD ", ""))
    assert len(commands) > 20
    for command in commands:
        assert why_not_a_command(command) is None, f"{command}: {why_not_a_command(command)}"


def test_every_setting_of_the_notes_exists() -> None:
    """Each name that looks like a setting of ours is one."""
    named = set(re.findall(r"\b(?:KAFKA|TRADOVATE|LEDGER|RETRY|HTTP|SECRET|CONSOLE|DATABASE|LOG)_[A-Z_]+\b", notes()))
    assert named <= SETTINGS


@pytest.mark.parametrize("alert", [rule["alert"] for rule in alerts()])
def test_alert_has_a_row_with_its_commands(alert: str) -> None:
    """The table gives the cause of each alert and the commands that the alert itself gives."""
    (row,) = [line for line in notes().splitlines() if line.startswith(f"| `{alert}` ")]
    (rule,) = [rule for rule in alerts() if rule["alert"] == alert]
    assert rule["labels"]["severity"] in row
    for command in commands_in(rule["annotations"]["action"]):
        words = [word for word in command.split() if not word.startswith("{{") and word != "}}" and "$" not in word]
        assert all(word in row for word in words), command


def test_links_of_the_notes_lead_somewhere() -> None:
    """Each file that the notes name is there."""
    for target in re.findall(r"\]\(([^)#]+)\)", notes()):
        assert (DEPLOY / target).exists(), target
    for path in re.findall(r"\bdeploy/[\w./-]+\w", notes()):
        if "/worker --" not in path and path != "deploy/worker":
            assert (ROOT / path).exists(), path
