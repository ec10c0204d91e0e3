"""What a replica's reads have shown of the partner where the vendor says nothing: kept while the process lives.

Nothing here is a fact about a trader. Lost, it costs a few reads more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from worker.replies import Domain, Query

USERS, ACCOUNTS = "/user/finds", "/account/finds"
"""The paths of the two bulk reads by name."""


class QueryForm(Enum):
    """How a bulk read takes several names is not documented."""

    JOINED = "joined"  # names=A,B
    REPEATED = "repeated"  # names=A&names=B


MOST_LEFT_OUT = 31
"""Small reads by name for which a bulk read that has shown nothing is not tried."""


@dataclass(slots=True)
class ObservedForms:
    """`user_id`: the API user's own.

    `names`: by path of a bulk read, a name that exists there: the API user's login name, the template account's. Asked
    for beside others, it shows whether the read understood the question. It is never a trader's: a call that names a
    trader must not be in flight beside another one that does.
    """

    introduced: bool = False  # a template account has been read for its name
    user_id: int | None = None
    names: dict[str, str] = field(default_factory=dict)
    forms: dict[str, QueryForm] = field(default_factory=dict)  # by path: the form in which it has found something
    most: dict[str, int] = field(default_factory=dict)  # by path: values that it takes at once, if not a hundred
    whole: dict[str, tuple[int, int]] = field(default_factory=dict)  # by path: values and rows of answers without a cut
    broken: set[str] = field(default_factory=set)  # paths of bulk reads that have missed what was there
    lists: set[str] = field(default_factory=set)  # paths of `ldeps` reads that have found something
    controls: dict[Domain, tuple[str, Mapping[str, Query]]] = field(default_factory=dict)  # the last that succeeded
    in_vain: dict[str, int] = field(default_factory=dict)  # by path: tries of a bulk read that has shown nothing yet
    left_out: dict[str, int] = field(default_factory=dict)  # by path: reads for which it was not tried since

    def takes(self, path: str, values: int, rows: int) -> bool:
        """Whether an answer to so many values, with so many rows, is known not to be cut: more of both were not."""
        most_values, most_rows = self.whole.get(path, (0, 0))
        return values <= most_values and rows < most_rows

    def most_rows(self, path: str) -> int:
        """Of an answer that was not cut."""
        return self.whole.get(path, (0, 0))[1]

    def taken(self, path: str, values: int, rows: int) -> None:
        """An answer about so many values, with so many rows, was not cut. A limit of ten and more is a round number."""
        most_values, most_rows = self.whole.get(path, (0, 0))
        self.whole[path] = max(values if values < 10 else -(-values // 5) * 5, most_values), max(rows, most_rows)

    def take_try(self, path: str) -> bool:
        """Whether a bulk read is tried for few values now. Counts this call. One that shows nothing costs up to four
        reads: after its first failure it is left out once, then 3 times, 7 times, and so on up to `MOST_LEFT_OUT`.
        """
        times = self.in_vain.get(path, 0)
        if path in self.forms or self.left_out.get(path, 0) >= min((1 << times) - 1, MOST_LEFT_OUT):
            self.left_out[path] = 0
            return True
        self.left_out[path] = self.left_out.get(path, 0) + 1
        return False
