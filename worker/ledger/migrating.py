"""The migrations as SQL, by Alembic. Imported only where a ledger is migrated."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"


def script(found: str | None) -> str:
    """The migrations from the release `found` to the newest one; None: of an empty database."""
    text = StringIO()
    config = Config(output_buffer=text)
    config.set_main_option("script_location", str(_MIGRATIONS))
    command.upgrade(config, "head" if found is None else f"{found}:head", sql=True)
    return text.getvalue()
