"""Where settings are found, in which order, and what is said of a place that cannot be read."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from worker.settings import (
    EnvironmentSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    SecretSettings,
    SettingsError,
    load,
)


def test_environment_goes_before_env_file_before_secret_files(tmp_path: Path) -> None:
    """A setting is taken from the environment, else from `.env`, else from its file among the secrets."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("KAFKA_GROUP_ID", "KAFKA_TOPIC_PREFIX", "kafka_bootstrap_servers"):
        (secrets / name).write_text("secret:1\n" if name.islower() else "from-secret\n")
    dotenv = tmp_path / ".env"
    dotenv.write_text("KAFKA_GROUP_ID=from-file\nKAFKA_TOPIC_PREFIX=from-file\nUNKNOWN=1\n")
    found = load(KafkaSettings, {"KAFKA_GROUP_ID": "from-env"}, env_file=dotenv, secrets_dir=secrets)
    assert found.kafka_group_id == "from-env"
    assert found.kafka_topic_prefix == "from-file"
    assert found.kafka_bootstrap_servers == "secret:1"


def test_empty_counts_as_missing(tmp_path: Path) -> None:
    """An empty value is no value: the next place is asked, and in the end the setting is missing."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("KAFKA_GROUP_ID=from-file\n")
    assert load(KafkaSettings, {"KAFKA_GROUP_ID": ""}, env_file=dotenv).kafka_group_id == "from-file"
    with pytest.raises(SettingsError, match="SECRET_KEY is missing"):
        load(SecretSettings, {"SECRET_KEY": " "})
    assert load(HttpSettings, {"CONSOLE_TOKEN": "", "HTTP_PORT": ""}).console_token is None


def test_this_process_is_asked_when_nothing_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping, the environment and the `.env` of the working directory are read."""
    (tmp_path / ".env").write_text("LOG_FORMAT=console\nLOG_LEVEL=debug\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    monkeypatch.setenv("LOG_LEVEL", "error")
    found = load(LogSettings)
    assert (found.log_format, found.log_level) == ("console", "error")


def test_a_mapping_shuts_everything_else_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a mapping neither the environment nor a `.env` is read, so `demo` can touch nothing real."""
    (tmp_path / ".env").write_text("TRADOVATE_ENVIRONMENT=production\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRADOVATE_ENVIRONMENT", "production")
    assert load(EnvironmentSettings, {}).tradovate_environment == "staging"


def test_an_unreadable_env_file_is_named(tmp_path: Path) -> None:
    """A `.env` that is no UTF-8 text is named, not shown."""
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"SECRET_KEY=\xff\xfe hunter2")
    with pytest.raises(SettingsError) as caught:
        load(LogSettings, {}, env_file=dotenv)
    assert ".env" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("kind", ["not text", "a directory"])
def test_an_unreadable_secret_is_named(tmp_path: Path, kind: str) -> None:
    """A secret's file that cannot be read is named with its path, without a warning and without what is in it."""
    secret = tmp_path / "secret_key"
    secret.mkdir() if kind == "a directory" else secret.write_bytes(b"hunter2 \xff")
    (tmp_path / "..data").mkdir()  # as Kubernetes lays them out: none of ours
    with warnings.catch_warnings(action="error"), pytest.raises(SettingsError) as caught:
        load(SecretSettings, {}, secrets_dir=tmp_path)
    assert str(secret) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert load(LogSettings, {}, secrets_dir=tmp_path).log_level == "info"


def test_values_of_an_env_file_stand_as_they_are(tmp_path: Path) -> None:
    """A password may hold what looks like a variable, and a file may begin with a byte order mark."""
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"\xef\xbb\xbfKAFKA_SASL_PASSWORD=pa${HOME}ss\nexport KAFKA_GROUP_ID='a b'\n")
    found = load(KafkaSettings, {}, env_file=dotenv)
    assert found.kafka_sasl_password is not None
    assert found.kafka_sasl_password.get_secret_value() == "pa${HOME}ss"
    assert found.kafka_group_id == "a b"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('TRADOVATE_ENVIRONMENT="production\nKAFKA_TOPIC_PREFIX="prod."\n', [1]),
        ('# two\n\n\nKAFKA_GROUP_ID="hunter2\n', [4]),
        ("KAFKA_GROUP_ID='hunter2\nKAFKA_TOPIC_PREFIX='hunter2'\n", [1]),
        ("A=1\nKAFKA_GROUP_ID: hunter2\n\nset KAFKA_TOPIC_PREFIX=hunter2\n", [2, 4]),
        ('KAFKA_GROUP_ID="hunter2" x\n', [1]),
        ("A=1\r\nKAFKA_GROUP_ID\r\n", [2]),
        ("\ufeffexport KAFKA_GROUP_ID\n", [1]),
        # The quote of one line ends with that of a later one: nothing is wrong with it but what it swallows.
        ('KAFKA_GROUP_ID="hunter2\nKAFKA_TOPIC_PREFIX=prod.\n#"\n', [1]),
        ('A="hunter2\nKAFKA_TOPIC_PREFIX=prod.\nB="\n', [1]),
    ],
)
def test_a_line_of_an_env_file_that_says_nothing_is_named(tmp_path: Path, text: str, lines: list[int]) -> None:
    """The program does not start without what such a line should set; the message has its number, and no value."""
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(text.encode())
    with pytest.raises(SettingsError) as caught:
        load(KafkaSettings, {}, env_file=dotenv)
    assert [problem.name for problem in caught.value.problems] == [f"{dotenv} line {line}" for line in lines]
    assert "hunter2" not in str(caught.value)
    assert "prod." not in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_every_usual_line_of_an_env_file_is_read(tmp_path: Path, start: str, end: str) -> None:
    """Comments, `export`, empty lines and values, either end of a line, and others' values of several lines."""
    lines = [
        "# a comment", "", "   ", "export KAFKA_GROUP_ID=one", "  KAFKA_TOPIC_PREFIX = 'two.' # a comment",
        'kafka_security_protocol="SSL"', "KAFKA_SASL_USERNAME=", "KAFKA_SASL_PASSWORD=it's #1 \"quoted\"",
        'CERTIFICATE="-----BEGIN', "MII==", '-----END"', "KAFKA_TOPIC_PARTITIONS=3",
    ]  # fmt: skip
    dotenv = tmp_path / ".env"
    dotenv.write_bytes((start + end.join(lines)).encode())
    found = load(KafkaSettings, {}, env_file=dotenv)
    assert (found.kafka_group_id, found.kafka_topic_prefix, found.kafka_security_protocol) == ("one", "two.", "SSL")
    assert (found.kafka_sasl_username, found.kafka_topic_partitions) == (None, 3)
    assert found.kafka_sasl_password is not None
    assert found.kafka_sasl_password.get_secret_value() == "it's"


@pytest.mark.parametrize("closed", ["is_file", "is_dir"])
def test_a_place_in_a_closed_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    """A `.env` or a secrets directory that cannot even be asked for is named, and is not taken for absent."""

    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, closed, forbidden)
    place = tmp_path / "place"
    with pytest.raises(SettingsError) as caught:
        load(LogSettings, {}, **{"env_file" if closed == "is_file" else "secrets_dir": place})
    assert [problem.name for problem in caught.value.problems] == [str(place)]
