"""Fixtures that every kind of test shares."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import hypothesis
import pytest
from xdist.remote import Producer

from tests.support.kafka import Broker, KafkaServer, why_no_java
from tests.support.lacking import lacks, tell
from tests.support.postgres import PgBouncer, system_postgres, why_no_pgbouncer, why_no_system_postgres
from tests.support.runners import OneByOne, runners_for, slow_first
from worker.embedded import EmbeddedKafka, EmbeddedPostgres

# A small machine under load may take long over one example; what hangs is ended by the time limit of the test.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

_REAL_KAFKA = {"kafka", "own_kafka"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a real broker is marked so; what takes long comes first."""
    for item in items:
        if _REAL_KAFKA & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")
    slow_first(items)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `--numprocesses auto` of `make test` stands for."""
    selected = config.option.keyword or config.option.lf or config.option.stepwise
    return runners_for(config.args, selected=bool(selected))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneByOne | None:
    """Single tests are shared out unless `--dist` asks for something else."""
    return OneByOne(config, log) if config.option.dist == "load" else None


_ON_BOTH = {
    f"tests.integration.test_{name}"
    for name in (
        "browse", "calls", "claims", "counts", "flows_waking", "holds", "mend", "pace", "plans", "recording", "saving",
        "session", "spine_purchase",
    )
}  # fmt: skip
"""Modules whose tests run on the embedded server and on the distribution's: those that send every kind of statement."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of such a module runs twice."""
    if metafunc.module.__name__ in _ON_BOTH and "postgres" in metafunc.fixturenames:
        metafunc.parametrize("postgres", ["embedded", "system"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server for the whole run: the embedded one, or the distribution's for a module that runs on both."""
    if getattr(request, "param", "embedded") == "system":
        yield request.getfixturevalue("system_server")
        return
    with EmbeddedPostgres() as server:
        yield server


@pytest.fixture(scope="session")
def system_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """The distribution's PostgreSQL for the whole run, with `fsync` on."""
    if reason := why_no_system_postgres():
        lacks(request, f"The tests on the distribution's PostgreSQL did not run: {reason}")
    with system_postgres() as server:
        yield server


@pytest.fixture
def pooler(request: pytest.FixtureRequest, system_server: EmbeddedPostgres) -> Iterator[Callable[..., PgBouncer]]:
    """Starts poolers in front of the distribution's server: the pool's mode, and settings of PgBouncer's."""
    if reason := why_no_pgbouncer():
        lacks(request, f"The tests behind a pooler did not run: {reason}")
    with ExitStack() as stack:
        yield lambda mode, **settings: stack.enter_context(PgBouncer(system_server.url, mode, **settings))


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """An empty database that nobody else uses."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server of the test's own, to be taken `down` and `up` again."""
    with EmbeddedPostgres() as server:
        yield server


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[EmbeddedKafka]:
    """The mock broker of librdkafka for the whole run: one member a group, topics appear when touched."""
    with EmbeddedKafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A real broker for the whole run: the one at KAFKA_BOOTSTRAP_SERVERS, or one of our own."""
    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield Broker(servers)
        return
    _need_java(request)
    server = KafkaServer().start()
    yield Broker(server.bootstrap_servers)
    server.close()


@pytest.fixture
def own_kafka(request: pytest.FixtureRequest) -> Iterator[KafkaServer]:
    """A real broker of the test's own, to be stopped, killed, frozen and started again."""
    _need_java(request)
    server = KafkaServer().start()
    yield server
    server.close()


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that keeps a test's topics and groups apart from all others on the broker."""
    return f"t{uuid.uuid4().hex[:12]}."


def _need_java(request: pytest.FixtureRequest) -> None:
    if reason := why_no_java():
        lacks(request, f"The tests on a real broker did not run: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What a machine lacked is said aloud."""
    tell(terminalreporter, config)
