"""Fixtures that every kind of test shares."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import hypothesis
import pytest
import structlog
from xdist.remote import Producer
from xdist.workermanage import WorkerController

from tests.support.kafka import Broker, KafkaServer, why_no_java
from tests.support.lacking import lacks, tell
from tests.support.node import NoNodeError, packages
from tests.support.postgres import (
    Copied,
    Databases,
    PgBouncer,
    embedded_postgres,
    system_postgres,
    why_no_pgbouncer,
    why_no_system_postgres,
)
from tests.support.runners import OneByOne, runners_for, slow_first
from tests.support.shared import Keeper, address_of
from worker.embedded import EmbeddedKafka, EmbeddedPostgres
from worker.ledger import schema

# A small machine under load may take long over one example; what hangs is ended by the time limit of the test.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

# A program that has not set up its log draws tracebacks with the values of all variables: seconds for a long one.
_PLAIN = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _PLAIN])

# A shell's background job does not hear Ctrl-C, and nor would the programs that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is collected lives as long as the run: the collector of garbage would look at all of it again and again.
gc.disable()

_REAL_KAFKA = {"kafka", "own_kafka"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for a real broker is marked so; tests that take long come first."""
    for item in items:
        if _REAL_KAFKA & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")
    slow_first(items)


def pytest_collection_finish() -> None:
    """From here on garbage is collected, and what is there already is none."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `--numprocesses auto` of `make test` stands for."""
    selected = config.option.keyword or config.option.lf or config.option.stepwise
    return runners_for(config.args, selected=bool(selected))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneByOne | None:
    """Single tests are shared out unless `--dist` asks for something else."""
    return OneByOne(config, log) if config.option.dist == "load" else None


_KEEPERS = pytest.StashKey[list[Keeper]]()

_BROKERS = 2
"""On a busy machine a single one made the topics of six runners too slowly; each costs 17 s of CPU in ten minutes to be
idle, besides its start.
"""


def pytest_configure_node(node: WorkerController) -> None:
    """A runner learns where it can ask for its real broker."""
    config = node.config
    if _KEEPERS not in config.stash:
        config.stash[_KEEPERS] = [Keeper(lambda: KafkaServer().start()) for _ in range(_BROKERS)]
        for keeper in config.stash[_KEEPERS]:
            config.add_cleanup(keeper.close)
    number = int(node.gateway.id.removeprefix("gw"))
    node.workerinput["kafka"] = config.stash[_KEEPERS][number % _BROKERS].place


ON_BOTH = {
    f"tests.integration.test_{name}"
    for name in (
        "browse", "calls", "claims", "counts", "flows_waking", "holds", "pace", "plans", "recording", "repair",
        "saving", "session",
    )
}  # fmt: skip
"""Modules whose tests run on the embedded server and on the distribution's: those that send every kind of statement."""

ON_SYSTEM = "tests.integration.test_spine_purchase"
"""Its tests run on the distribution's server, if there is one: purchases of other modules run on the embedded one."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of `ON_BOTH` runs twice."""
    if metafunc.definition.get_closest_marker("slow"):
        return  # what takes long sends no statement that others of the module do not send
    if metafunc.module.__name__ in ON_BOTH and "databases" in metafunc.fixturenames:
        metafunc.parametrize("databases", ["embedded", "system"], indirect=True, scope="session")
    if metafunc.module.__name__ == ON_SYSTEM and "databases" in metafunc.fixturenames and not why_no_system_postgres():
        metafunc.parametrize("databases", ["system"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Databases:
    """Databases of the embedded server, or of the distribution's for a module that runs on both.

    Another parameter ends a fixture of the session: what takes long to make is in fixtures that have none.
    """
    found: Databases = request.getfixturevalue(f"{getattr(request, 'param', 'embedded')}_databases")
    return found


@pytest.fixture(scope="session")
def postgres(databases: Databases) -> EmbeddedPostgres:
    """The server of these databases."""
    return databases.server


@pytest.fixture(scope="session")
def embedded_databases() -> Iterator[Databases]:
    """An embedded server for the whole run."""
    with embedded_postgres() as server, Databases(server, "strategy file_copy") as made:  # it waits for no disk
        yield made


@pytest.fixture(scope="session")
def system_databases(system_server: EmbeddedPostgres) -> Iterator[Databases]:
    """The distribution's server for the whole run."""
    with Databases(system_server) as made:
        yield made


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
def database_url(databases: Databases) -> Iterator[str]:
    """An empty database that nobody else uses."""
    name = f"test_{uuid.uuid4().hex}"
    yield databases.create(name)
    databases.drop(name)


@pytest.fixture
def ledgers(databases: Databases) -> Iterator[Callable[[], str]]:
    """Makes empty ledgers of the test's own."""
    names: list[str] = []

    def make() -> str:
        names.append(f"ledger_{uuid.uuid4().hex}")
        return databases.create(names[-1], databases.ledger_template)

    yield make
    for name in names:
        databases.drop(name)


@pytest.fixture
def ledger_url(ledgers: Callable[[], str]) -> str:
    """An empty ledger that nobody else uses."""
    return ledgers()


@pytest.fixture(scope="session")
def original_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that is down, whose data others begin with; its database `migrated` is an empty ledger."""
    with embedded_postgres() as server:
        asyncio.run(schema.upgrade(server.create_database("migrated")))
        server.down()
        yield server


@pytest.fixture
def own_postgres(original_postgres: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server of the test's own, to be taken `down` and `up` again. It has an empty ledger, `migrated`."""
    with Copied(original_postgres) as server:
        yield server


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[EmbeddedKafka]:
    """The mock broker of librdkafka for the whole run: one member a group, topics appear when touched."""
    with EmbeddedKafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A real broker for the whole run: the one at KAFKA_BOOTSTRAP_SERVERS, or one that several runners share."""
    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield Broker(servers)
        return
    _need_java(request)
    if place := getattr(request.config, "workerinput", {}).get("kafka"):
        yield Broker(address_of(place))
        return
    with KafkaServer() as server:
        yield Broker(server.bootstrap_servers)


@pytest.fixture
def own_kafka(request: pytest.FixtureRequest) -> Iterator[KafkaServer]:
    """A real broker of the test's own, to be stopped, killed, frozen and started again."""
    _need_java(request)
    server = KafkaServer().start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def node_reason() -> str:
    """Why Node and the packages that the tests use cannot run; empty when they can."""
    try:
        packages()
    except NoNodeError as error:
        return str(error)
    return ""


@pytest.fixture
def node(request: pytest.FixtureRequest, node_reason: str) -> None:
    """Node is there, with the packages that the tests use."""
    if node_reason:
        lacks(request, f"The tools and clients of adopters in Node did not run: {node_reason}")


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
