"""No personal value in anything that was said or stored, and what is kept for a flow is gone with it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping

from tests.torture.promises import Breach, Promise
from tests.torture.shop import Shop
from tests.torture.system import System

LEFT = "select topic, event_id from flow where state in ('succeeded', 'failed') and body is not null"
"""Events, encrypted, of flows that have ended."""


def shown(system: System) -> Mapping[str, str]:
    """What was said up to now, by place."""
    texts = {f"the log of {member.name}": member.said for member in system.members}
    texts["the outcomes"] = b"\n".join(system.listener.raw).decode()
    letters = [f"{name}: {value!r}" for each in system.listener.dead_letters for name, value in each.headers.items()]
    texts["headers of dead letters"] = "\n".join(letters)
    return texts


async def stored(system: System) -> Mapping[str, str]:
    """What the ledger holds, by table."""
    texts = {}
    for (table,) in await system.rows("select tablename::text from pg_tables where schemaname = 'public'"):
        rows = await system.rows(f'select t::text from "{table}" t')  # noqa: S608 - our own tables
        texts[f"the table {table}"] = "\n".join(row[0] for row in rows)
    return texts


async def left(system: System) -> list[Breach]:
    """Personal data of flows that have ended."""
    return [
        Breach(Promise.DELETED, f"the event of {topic} {event_id} is kept", event_id)
        for topic, event_id in await system.rows(LEFT)
    ]


def seen(shop: Shop, texts: Mapping[str, str]) -> Iterator[Breach]:
    """Personal values in texts, by the name of the text."""
    kinds = _kinds(shop.secrets)
    if not kinds or not _any_in(kinds.values(), texts.values()):
        return
    for where, text in texts.items():
        for kind, value in kinds.items():
            if value in text or value.encode().hex() in text:
                yield Breach(Promise.PERSONAL, f"a value of the kind {kind} is in {where}")


def _any_in(values: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether one of thousands of values is in megabytes of text: grep looks for all of them at once."""
    with tempfile.NamedTemporaryFile("w") as wanted:
        wanted.write("\n".join(form for value in values for form in (value, value.encode().hex())))
        wanted.flush()
        command = ["grep", "--text", "--quiet", "--fixed-strings", f"--file={wanted.name}"]
        found = subprocess.run(command, input="\n".join(texts).encode(), env={"LC_ALL": "C"}, check=False)
    if found.returncode not in (0, 1):
        raise RuntimeError(f"grep failed: {found.returncode}")
    return found.returncode == 0


def _kinds(secrets: Iterable[str]) -> Mapping[str, str]:
    """The values by a name that shows none of them in full."""
    return {f"{value[:3]}…{number}": value for number, value in enumerate(sorted(secrets)) if len(value) >= 7}
