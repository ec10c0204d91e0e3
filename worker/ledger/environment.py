"""Which Tradovate environment a ledger belongs to. Ids differ between them, so the ledger remembers the first one."""

from __future__ import annotations

from worker.errors import OperatorError
from worker.ledger.database import Database

__all__ = ["OtherEnvironment", "check_environment", "claim_environment", "noted_environment"]


class OtherEnvironment(OperatorError):
    """The ledger belongs to the environment `noted`."""

    code = 2

    def __init__(self, noted: str) -> None:
        super().__init__(noted)
        self.noted = noted

    @property
    def sentence(self) -> str:
        """For an operator."""
        return f"This ledger belongs to TRADOVATE_ENVIRONMENT={self.noted}; use that, or another DATABASE_URL."


async def claim_environment(database: Database, environment: str) -> None:
    """Notes the environment if none is noted yet. Raises `OtherEnvironment` if another one is."""
    async with database.transaction() as connection:
        noted: str = await connection.fetchval(
            "update ledger set environment = coalesce(environment, $1) returning environment", environment
        )
    if noted != environment:
        raise OtherEnvironment(noted)


async def check_environment(database: Database, environment: str) -> None:
    """Raises `OtherEnvironment` if the ledger belongs to another one. Writes nothing: a standby will do."""
    noted = await noted_environment(database)
    if noted not in (None, environment):
        raise OtherEnvironment(str(noted))


async def noted_environment(database: Database) -> str | None:
    """The environment that the ledger belongs to, None when it has not been used yet."""
    async with database.connection() as connection:
        noted: str | None = await connection.fetchval("select environment from ledger")
    return noted
