"""What `flows` needs beside words: the ledger of the right environment, the flow that is meant, its event again."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from schemas.cleaning import clean
from schemas.events import Account, Event
from worker import _forms as forms
from worker.cli._errors import WRONG_USAGE, CommandRefused
from worker.cli._kafka import kafka_errors, present
from worker.intake.original_event import EventNotFound, event_again
from worker.kafka.read import reading
from worker.ledger import browse
from worker.ledger.browse import Summary
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, Database
from worker.ledger.environment import noted_environment
from worker.ledger.ledger import Ledger
from worker.ledger.operator_actions import OperatorActions
from worker.ledger.rows import OutcomeRow
from worker.products import load_products
from worker.settings import DatabaseSettings, EnvironmentSettings, FlowSettings, KafkaSettings, LedgerSettings

_MOST_NAMED = 10


class SeeSettings(DatabaseSettings, EnvironmentSettings):
    """What `flows list` and `flows show` use."""


class MendSettings(LedgerSettings, EnvironmentSettings, KafkaSettings, FlowSettings):
    """What `flows retry`, `cancel` and `resolve` use: the ledger, a flow's rules, the topic of its event."""

    tradovate_subscription_plan_id: forms.VendorId = 1
    """Never used: only the worker sends it."""


@dataclass(frozen=True, slots=True)
class Mending:
    """The ledger for one piece of work by an operator."""

    settings: MendSettings
    database: Database
    mender: OperatorActions
    vault: Vault
    products: Mapping[str, Account]

    async def flow(self, name: str) -> Summary:
        """The one flow that `name` means. Raises `CommandRefused` when there is none, or more than one."""
        async with self.database.connection() as connection:
            found = await flows_of(connection, name)
        if len(found) > 1:
            raise CommandRefused(f"{shown(name)} means {len(found)} flows: name one by its flow id: {named(found)}.")
        return found[0]

    async def event(self, flow: Summary) -> Event:
        """The flow's event, read again from its topic. Raises `CommandRefused` when it is not there any more."""
        where = f"{flow.topic}, partition {flow.partition}, offset {flow.offset}"
        async with kafka_errors(self.settings):
            state = (await present(self.settings, [flow.topic]))[0]
            if flow.partition < state.partitions:
                async with reading(self.settings) as reader:
                    record = await reader.one(flow.topic, flow.partition, flow.offset)
            else:
                record = None
        async with self.database.connection() as connection:
            content = await browse.content(connection, flow.flow_id)
        try:
            return event_again(record, flow.event_id, content, self.vault, self.products)
        except EventNotFound as error:
            raise CommandRefused(f"{error.sentence} (It stood at {where}.)") from None

    async def after(self, flow: Summary) -> tuple[Summary, int]:
        """The flow as it is now, and how many workers run."""
        async with self.database.connection() as connection:
            now = await browse.matches(connection, str(flow.flow_id))
            return now[0], await browse.workers(connection)


@asynccontextmanager
async def mending(settings: MendSettings) -> AsyncIterator[Mending]:
    """Raises `DatabaseError`; `CommandRefused` for another environment's ledger; `NotPossible`."""
    # Only here: it brings all of the worker along, which `--help` need not wait for.
    from worker.partner.operations import OPERATIONS  # noqa: PLC0415
    from worker.telemetry.logging import configure  # noqa: PLC0415
    from worker.wiring.replica import flow_rules  # noqa: PLC0415

    configure("critical", "json")  # a command says what it has to say by itself
    products = load_products(settings.products_file) if settings.products_file else {}
    vault = Vault([key.get_secret_value() for key in settings.secret_keys])
    async with opened(settings) as database:
        ledger = Ledger(
            database,
            vault,
            flow_rules(settings, products),
            {name: operation.limits.rank for name, operation in OPERATIONS.items()},
        )
        looked_up = {name for name, operation in OPERATIONS.items() if operation.recovery.look_up is not None}
        yield Mending(settings, database, OperatorActions(ledger, looked_up.__contains__), vault, products)


@asynccontextmanager
async def opened(settings: SeeSettings | MendSettings) -> AsyncIterator[Database]:
    """The ledger, if it belongs to TRADOVATE_ENVIRONMENT. Raises `CommandRefused` or `DatabaseError`."""
    reading = isinstance(settings, SeeSettings)  # a standby will do
    database = Database(settings.database_url.get_secret_value(), size=2, reading=reading)
    try:
        noted, wanted = await noted_environment(database), settings.tradovate_environment.value
        if noted not in (None, wanted):
            sentence = f"This ledger belongs to TRADOVATE_ENVIRONMENT={noted}; use that, or another DATABASE_URL."
            raise CommandRefused(sentence, WRONG_USAGE)
        yield database
    finally:
        await database.close()


async def flows_of(connection: Connection, name: str) -> list[Summary]:
    """The flows that a flow, event or order id means, newest first. Raises `CommandRefused` when there is none."""
    found = await browse.matches(connection, clean(name))
    if not found:
        raise CommandRefused(
            f"There is no flow, event or order {shown(name)}: `tradovate-worker flows list` shows the newest."
        )
    return found


def named(flows: Sequence[Summary]) -> str:
    """Flows, each by its id and what tells it from the others."""
    listed = [f"{flow.flow_id} ({flow.topic}, event {flow.event_id}, {flow.state})" for flow in flows[:_MOST_NAMED]]
    more = [f"and {len(flows) - _MOST_NAMED} more"] if len(flows) > _MOST_NAMED else []
    return "; ".join(listed + more)


def login() -> str:
    """Who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()}"


def given_by(by: str | None) -> str:
    """Who does it: `by`, or the login name. Raises `CommandRefused` when it is empty."""
    if by is not None and not by.strip():
        raise CommandRefused("--by is empty: say who, for it is kept.", WRONG_USAGE)
    return clean(" ".join((by or login()).split()))


def shown(text: str) -> str:
    """A text of the command line, short and with nothing in it that a terminal would obey."""
    short = text if len(text) <= 80 else text[:80] + "…"
    return f'"{"".join(letter if letter.isprintable() else "?" for letter in short)}"'


def outcome_note(outcomes: Sequence[OutcomeRow], workers: int) -> str:
    """What becomes of the outcome that an operator's action has made."""
    if not outcomes:
        return "A worker takes it up within seconds." if workers else "No worker runs: it goes on when one does."
    last = outcomes[-1]
    when = "a worker publishes it within seconds" if workers else "no worker runs: it is published when one does"
    return f"Outcome {last.status}, outcomeId {last.headers['ce_id']}: {when}."


CANCELLED = "Cancelled by a person."
"""The outcome's text when no reason is given."""

__all__ = [
    "CANCELLED",
    "MendSettings",
    "Mending",
    "SeeSettings",
    "flows_of",
    "login",
    "mending",
    "named",
    "opened",
    "outcome_note",
    "shown",
]
