"""What a process imports before it can work: it is CPU time of every start."""

from __future__ import annotations

import subprocess
import sys

from alembic.script import ScriptDirectory

from tests.support.processes import ROOT
from worker.ledger import schema

_SELDOM = {
    "alembic": "`db upgrade` and `demo` migrate",
    "sqlalchemy": "Alembic's",
    "mako": "Alembic's",
    "opentelemetry.sdk": "only with OTEL_EXPORTER_OTLP_ENDPOINT",
    "opentelemetry.exporter": "only with OTEL_EXPORTER_OTLP_ENDPOINT",
    "jinja2": "only with CONSOLE_TOKEN",
    "worker.operate.console.routes": "only with CONSOLE_TOKEN",
    "worker.sandbox": "the partner of demo and tests",
    "worker.embedded": "the broker and the database of demo and tests",
    "confluent_kafka": "the broker of demo and tests",
}
"""What takes long to import, and who needs it."""


_COMMANDS = ("run", "bridge", "flows", "dlq", "send", "watch", "topics", "doctor", "holds")


def test_commands_import_nothing_that_they_do_not_need() -> None:
    """The migration tool, tracing, the console and the sandbox are imported by what uses them alone."""
    modules = [f"worker.cli.{command}" for command in _COMMANDS]
    program = f"import sys, worker.cli.main, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert set(modules) <= imported
    assert imported & set(_SELDOM) == set()


def test_the_newest_release_is_that_of_the_migrations() -> None:
    """The number that is read from the names of the files is the one that the migration tool finds in them."""
    assert schema.newest() == ScriptDirectory("worker/ledger/migrations").get_current_head()
