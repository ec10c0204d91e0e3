"""The commands as a user runs them: exit codes, one line for what an operator can fix, help, what they print."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import KEPT, Process, worker
from tests.support.waiting import eventually_sync
from worker.cli.application import COMMANDS
from worker.cli.main import main
from worker.embedded import EmbeddedKafka
from worker.kafka.topics import ALL_TOPICS

NOBODY: Mapping[str, str] = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "DATABASE_URL": "postgresql://nobody:hush-hush@127.0.0.1:1/nothing",
}
"""Addresses at which nobody listens."""

ALL = [
    [],
    *([name] for name in COMMANDS),
    *(["db", name] for name in ("upgrade", "status")),
    *(["topics", name] for name in ("create", "list")),
    *(["holds", name] for name in ("list", "clear")),
    ["schemas", "export"],
]


def ran(*arguments: str, env: Mapping[str, str] = NOBODY, stdin: str = "", cold: bool = False) -> tuple[int, str, str]:
    """Exit code, standard output, standard error. `cold`: with its own imports, as a user starts it."""
    with worker(*arguments, env=env, stdin=stdin, cold=cold) as process:
        code = process.wait(30)
        return code, process.stdout, process.stderr


def refused(code: int, *arguments: str, env: Mapping[str, str] = NOBODY, stdin: str = "", cold: bool = False) -> str:
    """The one line of a command that is refused with this code, and prints nothing else."""
    found, out, err = ran(*arguments, env=env, stdin=stdin, cold=cold)
    assert (found, out) == (code, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    return err


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ran_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, for what a process of its own proves nothing more of: starting one takes most of
    such a test. Exit code, standard output, standard error.
    """

    def run(*arguments: str) -> tuple[int, str, str]:
        for name in set(os.environ) - set(KEPT):
            monkeypatch.delenv(name)
        for name, value in NOBODY.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_help_has_an_example(ran_here: Run, command: list[str]) -> None:
    """Every command tells by --help what it does, with an example that begins with the program's name."""
    code, out, err = ran_here(*command, "--help")
    assert (code, err) == (0, "")
    usage = " ".join(["Usage: tradovate-worker", *command])
    assert out.startswith(usage)
    assert re.search(rf"Example:\n\n(.*\n)*?.*tradovate-worker {command[0] if command else ''}", out)


def test_alone_it_shows_help() -> None:
    """Without a command the program shows what there is, and the version on request."""
    code, out, _ = ran()
    assert code == 0
    assert all(name in out for name in COMMANDS)
    assert ran("--version")[1].startswith("tradovate-worker ")


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["rum"], "did you mean run?"),
        (["zzzzzz"], "tradovate-worker --help"),
        (["db"], "tradovate-worker db --help"),
        (["db", "statsu"], "status"),
        (["--nope"], "--nope"),
        (["holds", "clear"], "ID"),
        (["holds", "clear", "x", "--reason", "y"], "ID"),
        (["holds", "clear", "1"], "--reason"),
        (["holds", "clear", "1", "--reason", "  "], "--reason is empty"),
        (["pause"], "--reason"),
        (["pause", "createEvaluationUser", "--reason", "x"], "did you mean createEvaluationUsers?"),
        (["resume", "createEvaluationUser"], "did you mean createEvaluationUsers?"),
        (["pause", "addEntitlementSubscription@again", "--reason", "x"], "did you mean addEntitlementSubscription?"),
        (["watch", "--topic", "trader.purchase"], "did you mean trader.purchased?"),
        (["watch", "--count", "0"], "--count"),
        (["send"], "TOPIC"),
        (["send", "trader.purchase"], "did you mean trader.purchased?"),
        (["send", "trader.purchased", "not-there.json"], "not-there.json"),
        (["sandbox", "--port", "70000"], "--port"),
        (["sandbox", "--host", "\xfc" * 70], "--host"),
        (["sandbox", "--host", "10.255.255.255"], "--host"),
        (["sandbox", "--faults", "not-there.toml"], "not-there.toml"),
        (["demo", "--events", "-1"], "--events"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_is_one_line_and_2(ran_here: Run, arguments: list[str], reported: str) -> None:
    """Wrong usage ends with 2 and one line that says what would be right."""
    code, out, err = ran_here(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert reported in err


def test_wrong_usage_of_a_process_is_one_line_and_2() -> None:
    """The exit code and the line are those of the process."""
    assert "did you mean run?" in refused(2, "rum")


@pytest.mark.parametrize(
    "arguments",
    [
        ["db", "status"],
        ["db", "upgrade"],
        ["holds", "list"],
        ["holds", "clear", "1", "--reason", "x"],
        ["pause", "--reason", "x"],
        ["resume"],
        ["flows", "list"],
    ],
    ids=" ".join,
)
def test_a_database_that_is_away_is_one_line_and_1(arguments: list[str]) -> None:
    """Without a database a command ends with 1 and the name of the setting, not with its value."""
    line = refused(1, *arguments, cold=True)
    assert "DATABASE_URL" in line
    assert "hush" not in line


@pytest.mark.parametrize(
    "arguments",
    [["topics", "list"], ["topics", "create"], ["watch"], ["send", "md.signed"],
     ["dlq", "show", "md.signed", "--partition", "0", "--offset", "1"]],
    ids=" ".join,
)  # fmt: skip
def test_a_kafka_that_is_away_is_one_line_and_1(arguments: list[str]) -> None:
    """Without Kafka a command ends with 1 and the name of the setting."""
    line = refused(1, *arguments, stdin='{"eventId": "e-1", "userId": 7}', cold=True)
    assert "KAFKA_BOOTSTRAP_SERVERS" in line


def test_wrong_settings_are_named_together_without_values() -> None:
    """All settings that are wrong or missing stand in one line, and none of their values does."""
    env = {"DATABASE_URL": "hush-hush", "KAFKA_TOPIC_PARTITIONS": "hush", "SECRET_KEY": "hush-hush"}
    line = refused(2, "run", env=env, cold=True)
    for name in (*env, "TRADOVATE_NAME", "TRADOVATE_SEC"):
        assert name in line
    assert "hush" not in line
    assert "DATABASE_URL" in refused(2, "holds", "list", env=env)
    assert "DATABASE_URL is wrong" in refused(
        2, "db", "status", env={"DATABASE_URL": "postgresql://hush:hush@here:hush/x"}
    )


def test_a_command_asks_only_for_what_it_uses(tmp_path: Path) -> None:
    """What a command does not use may be wrong: schemas are written whatever the settings are."""
    code, out, err = ran("schemas", "export", str(tmp_path / "new"), env={"KAFKA_TOPIC_PARTITIONS": "x"})
    assert (code, err) == (0, "")
    assert "Wrote" in out
    assert (tmp_path / "new" / "asyncapi.yaml").exists()
    assert "/dev/null/x" in refused(1, "schemas", "export", "/dev/null/x")


def test_the_schema_is_brought_up_to_date(database_url: str) -> None:
    """`db status` fails on an empty ledger and names the fix, `db upgrade` is that fix, and may come again."""
    env = {"DATABASE_URL": database_url}
    code, out, err = ran("db", "status", env=env)
    assert code == 1
    assert "empty" in out
    assert "tradovate-worker db upgrade" in err
    assert "db upgrade" in refused(1, "holds", "list", env=env)
    assert "Upgraded" in ran("db", "upgrade", env=env)[1]
    assert "Nothing to do" in ran("db", "upgrade", env=env)[1]
    code, out, _ = ran("db", "status", "--json", env=env)
    assert code == 0
    assert json.loads(out)["fit"] == "current"


def test_settings_of_other_postgresql_clients_are_not_read(database_url: str) -> None:
    """Of the environment `DATABASE_URL` alone says where the ledger is, whatever is set for `psql` beside it."""
    others = {
        "PGHOST": "127.0.0.1", "PGPORT": "1", "PGUSER": "hush", "PGPASSWORD": "hush", "PGDATABASE": "hush",
        "PGPASSFILE": "/dev/null/x", "PGSSLMODE": "hush", "PGSSLNEGOTIATION": "hush", "PGTARGETSESSIONATTRS": "hush",
    }  # fmt: skip
    assert "Upgraded" in ran("db", "upgrade", env={"DATABASE_URL": database_url, **others})[1]
    elsewhere = refused(1, "db", "status", env={"DATABASE_URL": "postgresql://127.0.0.1:1/x", **others})
    assert "hush" not in elsewhere


def test_calls_are_paused_and_resumed(database_url: str) -> None:
    """A pause is a hold that `holds list` shows with its reason, and that `resume` or `holds clear` ends."""
    env = {"DATABASE_URL": database_url}
    ran("db", "upgrade", env=env)
    assert ran("holds", "list", env=env)[1] == "Nothing keeps calls back.\n"
    assert json.loads(ran("holds", "list", "--json", env=env)[1]) == []
    assert ran("pause", "createEvaluationUsers", "--reason", "wrong plan", env=env)[0] == 0
    assert ran("pause", "--reason", "all of it", env=env)[0] == 0
    held = json.loads(ran("holds", "list", "--json", env=env)[1])
    assert [(hold["scope"], hold["reason"], hold["until"]) for hold in held] == [
        ("pause:createEvaluationUsers", "wrong plan", None),
        ("pause:all", "all of it", None),
    ]
    assert "wrong plan" in ran("holds", "list", env=env)[1]
    code, out, _ = ran("resume", env=env)
    assert code == 0
    assert "createEvaluationUsers" in out
    assert "createEvaluationUsers" in refused(1, "resume", env=env)
    assert ran("holds", "clear", str(held[0]["id"]), "--reason", "corrected", env=env)[0] == 0
    assert "holds list" in refused(1, "holds", "clear", str(held[0]["id"]), "--reason", "again", env=env)
    assert "holds list" in refused(1, "holds", "clear", str(10**30), "--reason", "x", env=env)


def test_topics_are_listed(embedded_kafka: EmbeddedKafka, topic_prefix: str) -> None:
    """`topics list` shows all topics without the prefix, those that are missing too."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": embedded_kafka.bootstrap_servers, "KAFKA_TOPIC_PREFIX": topic_prefix}
    embedded_kafka.touch_topics([topic_prefix + "md.signed"])
    listed: list[dict[str, Any]] = json.loads(ran("topics", "list", "--json", env=env)[1])
    assert {one["topic"]: one["partitions"] for one in listed if one["exists"]} == {"md.signed": 4}
    assert [one["topic"] for one in listed] == list(ALL_TOPICS)
    lines = ran("topics", "list", env=env)[1].splitlines()
    assert [line.split()[0] for line in lines] == ["TOPIC", *ALL_TOPICS]
    assert topic_prefix not in "".join(lines)


def test_topics_cannot_be_created_without_a_controller(embedded_kafka: EmbeddedKafka, topic_prefix: str) -> None:
    """A broker that has no controller, and so creates no topics, is one line that says what to do."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": embedded_kafka.bootstrap_servers, "KAFKA_TOPIC_PREFIX": topic_prefix}
    assert "controller" in refused(1, "topics", "create", env=env)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tradovate-worker to", ["topics"]),
        ("tradovate-worker flows list --state in", ["in_doubt"]),
        ("tradovate-worker watch --topic trader.p", ["trader.purchased", "trader.passed"]),
        ("tradovate-worker send md", ["md.signed"]),
        ("tradovate-worker dlq replay account.r", ["account.reset"]),
        ("tradovate-worker pause createEvaluationU", ["createEvaluationUsers"]),
    ],
)
def test_tab_completes(typed: str, offered: list[str]) -> None:
    """TAB in bash completes commands, states, topics and operations."""
    shell = {"_TRADOVATE_WORKER_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    code, out, err = ran(env={**NOBODY, **shell})
    assert (code, out.split(), err) == (0, offered, "")


def test_the_sandbox_prints_its_settings_and_serves() -> None:
    """`sandbox` prints one NAME=value a line that a worker takes, and ends with 130 on Ctrl-C, with 0 on SIGTERM."""
    for end, code in (("interrupt", 130), ("terminate", 0)):
        with worker("sandbox", "--port", "0") as process:
            _settled(process)
            settings = dict(line.split("=", 1) for line in process.stdout.splitlines())
            getattr(process, end)()
            assert process.wait() == code
            assert process.stderr == ""
        assert settings["TRADOVATE_LIVE_URL"].endswith("/live/v1")
        assert settings["TRADOVATE_PASSWORD"]


def _settled(process: Process) -> None:
    eventually_sync(lambda: "TRADOVATE_MAINTENANCE" in process.stdout, 20)
