"""Alerts that came over a socket and could not be read: which domain to ask for them, and whether they are covered.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.replies import Domain

__all__ = ["Missed"]


@dataclass(slots=True)
class Missed:
    """A read covers what came before it began; what comes while it is under way needs the next one.

    One read asks one domain. A domain that knows none, or not all that the other one knows, covers nothing before the
    other one has been asked too.
    """

    _seen: int = 0
    _covered: int = 0
    _answered: dict[Domain, int] = field(default_factory=dict)
    _next: Domain = Domain.LIVE

    @property
    def seen(self) -> int:
        """Alerts that could not be read, until now."""
        return self._seen

    @property
    def waiting(self) -> int:
        """Alerts that no read covers yet."""
        return self._seen - self._covered

    def came(self) -> None:
        """One more could not be read."""
        self._seen += 1

    def begin(self, holder: Domain | None = None) -> tuple[Domain, int]:
        """A read begins: the domain that it asks, and what the methods below take afterwards."""
        return holder or self._next, self._seen

    def covered(self, begun: int) -> None:
        """The read that began then has brought the signals that there are."""
        self._covered = max(self._covered, begun)

    def answered(self, domain: Domain, begun: int) -> None:
        """The read that began then has brought what this domain knows; the other one may know more."""
        self._answered[domain] = begun
        self.failed(domain)
        if len(self._answered) == len(Domain):
            self.covered(min(self._answered.values()))

    def failed(self, domain: Domain) -> None:
        """The read of this domain has brought nothing: the next one asks the other."""
        self._next = Domain.DEMO if domain is Domain.LIVE else Domain.LIVE
