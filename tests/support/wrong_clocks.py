"""Wrong clocks for processes of the tests (libfaketime). PostgreSQL, the broker and the partner keep the right time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.lacking import lacks


@dataclass(frozen=True)
class WrongClock:
    """The clock of a process that is started with `env`. It is `set` at any time, also while the process runs."""

    library: Path
    file: Path

    def set(self, seconds: float) -> None:
        """So many seconds ahead of the right time, negative: behind it."""
        written = self.file.with_suffix(".new")
        written.write_text(f"{seconds:+g}\n")
        written.replace(self.file)

    @property
    def env(self) -> Mapping[str, str]:
        """A replica's clock is wrong; how fast time goes by is not: monotonic time is left alone, as by the kernel."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


@dataclass(frozen=True)
class WrongClocks:
    """Makes them; see the fixture `wrong_clocks`."""

    library: Path
    folder: Path

    def __call__(self, seconds: float) -> WrongClock:
        """A clock that is wrong by so much."""
        clock = WrongClock(self.library, self.folder / f"clock{len(list(self.folder.iterdir()))}")
        clock.set(seconds)
        return clock


@pytest.fixture
def wrong_clocks(request: pytest.FixtureRequest, tmp_path: Path) -> WrongClocks:
    """Wrong clocks, where there is libfaketime."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        lacks(request, "The tests with wrong clocks did not run: no libfaketime (Debian: apt-get install faketime)")
    folder = tmp_path / "clocks"
    folder.mkdir()
    return WrongClocks(found[0], folder)
