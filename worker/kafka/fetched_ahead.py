"""Bounds what a consumer fetches ahead: aiokafka has a limit for each partition and for each response, none for all.

While records of some partitions wait to be handed on, it fetches more of the others. A replica that alone reads all
eleven input topics with twelve partitions each would hold a mebibyte of each partition. It uses private attributes of
aiokafka (`Fetcher._get_actions_per_node`, `_records`); `tests/integration/test_fetched_ahead.py` fails when they
change.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MOST_AHEAD", "FetchedAhead"]

MOST_AHEAD = 4 * 1024 * 1024
"""Bytes, as they came over the network. A response that is on its way then comes on top."""


class FetchedAhead:
    """What a fetcher of aiokafka's holds. From here on it asks for no more records while that is too much."""

    def __init__(self, fetcher: Any, most: int = MOST_AHEAD) -> None:
        self._fetcher = fetcher
        self._most = most
        self._actions = fetcher._get_actions_per_node  # noqa: SLF001 - the seam
        fetcher._get_actions_per_node = self._bounded  # noqa: SLF001

    @property
    def bytes(self) -> int:
        """What has been fetched and not been handed on whole."""
        waiting = (getattr(each, "_partition_records", None) for each in self._fetcher._records.values())  # noqa: SLF001
        return sum(each._records.size_in_bytes() for each in waiting if each is not None)  # noqa: SLF001

    @property
    def full(self) -> bool:
        """Whether nothing more is fetched now."""
        return self.bytes >= self._most

    def _bounded(self, assignment: Any) -> Any:
        """What the fetcher does next. It asks again when a partition's records have been handed on."""
        requests, *others = self._actions(assignment)
        return [] if requests and self.full else requests, *others
