"""A PostgreSQL server whose data stay on the disk from run to run."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.postgres import system_server
from worker.embedded import EmbeddedPostgres


class KeptPostgres(EmbeddedPostgres):
    """The distribution's server with its own settings, and its data in `place`, which stays: made when it is empty."""

    def __init__(self, place: Path) -> None:
        super().__init__(system_server(), durable=True)
        self._data = place.absolute()

    def _make_data(self) -> None:
        # The server's own directory is removed with it, even when this process is killed: a link in it, and no more.
        (self._there() / "data").symlink_to(self._data)
        if (self._data / "PG_VERSION").exists():
            self._leave_no_lock()
            return
        self._data.mkdir(parents=True, exist_ok=True)
        shutil.chown(self._data, self._there().owner())
        super()._make_data()

    def _leave_no_lock(self) -> None:
        """A server that was killed has left its lock, which says that it is ready. Raises `RuntimeError` if it runs."""
        lock = self._data / "postmaster.pid"
        if lock.exists():
            pid = int(lock.read_text().split()[0])
            if Path(f"/proc/{pid}/cwd").resolve().is_relative_to(self._data.resolve()):
                raise RuntimeError(f"{self._data} is in use by process {pid}.")
            lock.unlink()
