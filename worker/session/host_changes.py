"""Where the organization is after a login, a renewal or a redirect: pure changes of the ledger's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from worker.ledger.host_table import DomainHost
from worker.partner.hosts import Addresses, ReturnedHosts, Source, host_of, read_host
from worker.replies import Domain

HOPS = 3
"""Redirects that are followed one after the other before a call has succeeded; more of them lead in a circle."""
NOBODY_KNOWS = timedelta(minutes=5)
"""Until the next look when nothing says when the hosts can be fetched: an operator has paused renewals."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The host of LIVE that a login or renewal was sent to; `source` says why that one."""

    host: str | None
    source: Source


@dataclass(frozen=True, slots=True)
class InUse:
    """Where the calls of a domain go, for people: hosts with their ports, and where they come from.

    `trouble`: why it may be the wrong place; `ignored`: a returned value that is not used, and why.
    """

    domain: Domain
    rest: str
    socket: str
    source: Source
    trouble: str | None
    ignored: str | None
    held: bool
    """Calls wait because of the trouble."""


@dataclass(frozen=True, slots=True)
class HostRules:
    """The rules, for one set of settings. `belongs` marks the rows that they write; `belongs_here` recognizes it."""

    addresses: Addresses
    belongs: bytes = field(repr=False)
    belongs_here: Callable[[bytes | None], bool]

    def in_use(self, rows: Sequence[DomainHost]) -> list[InUse]:
        """What health, doctor and the console show."""
        used, shown = self.hosts(rows), self.addresses
        return [
            InUse(
                domain,
                shown.shown(domain, used.get(domain)),
                host_of(shown.socket(domain, used.get(domain))),
                Source(row.source) if domain in used and row.source is not None else Source.SETTINGS,
                self._trouble(row),
                f"Tradovate returned {row.ignored!r}, which is not used: {row.ignored_why}" if row.ignored else None,
                row.doubt is not None and row.strong,
            )
            for row in rows
            for domain in (Domain(row.domain),)
        ]

    def _trouble(self, row: DomainHost) -> str | None:
        if row.doubt is None:
            return None
        said = f"it may be the wrong host: {row.doubt}"
        leads_to = None if row.leads_to is None else read_host(row.leads_to)
        if leads_to is not None and not self.addresses.trusts(leads_to):
            said += f"; it redirects to {leads_to}, which is not in TRADOVATE_TRUSTED_HOSTS"
        if row.strong and row.asked_at is not None:
            said += "; no renewal helps, so calls go one at a time until one succeeds"
        return said

    def answered(
        self,
        rows: Sequence[DomainHost],
        offer: ReturnedHosts,
        reached: Reached,
        source: Source,
        generation: int,
        now: datetime,
    ) -> list[DomainHost]:
        """After a response with a token: what it names wins, field by field; what it does not name stays."""
        return [self._answered(row, offer, reached, source, generation, now) for row in rows]

    def not_asked(
        self, rows: Sequence[DomainHost], until: datetime | None, generation: int, now: datetime
    ) -> list[DomainHost]:
        """After a renewal that failed, or that cannot be made before `until`: a redirect is all that is known."""
        changed = []
        for row in rows:
            if not row.asks(now):
                changed.append(row)
            elif not self.addresses.follow:
                changed.append(row.asked(now))
            elif (host := self.redirect(row)) is not None:
                changed.append(self._redirected(row, host, generation, now))
            else:
                changed.append(row.postponed(until or now + NOBODY_KNOWS, now))
        return changed

    def hosts(self, rows: Sequence[DomainHost]) -> dict[Domain, str]:
        """The hosts that take the place of the settings' own: what a token carries."""
        if not self.addresses.follow:
            return {}
        return {
            Domain(row.domain): row.host
            for row in rows
            if row.host is not None and self.belongs_here(row.belongs) and self.addresses.trusts(row.host)
        }

    def _answered(
        self, row: DomainHost, offer: ReturnedHosts, reached: Reached, source: Source, generation: int, now: datetime
    ) -> DomainHost:
        domain = Domain(row.domain)
        if not self.belongs_here(row.belongs):
            row = DomainHost(domain=row.domain, belongs=self.belongs, generation=generation)
        ignored, found = offer.ignored.get(domain), offer.hosts.get(domain)
        if ignored is not None:
            row = replace(row, ignored=ignored.value, ignored_why=ignored.why)
        elif found is not None:
            row = replace(row, ignored=None, ignored_why=None)
        if found is not None and not self._same(row, found) and not self._left(row, found):
            return row.moved(found, source, generation, now)
        if domain is Domain.LIVE and not self.addresses.same(domain, reached.host, row.host):
            if reached.source is Source.REDIRECT and reached.host is not None:
                return self._redirected(row, reached.host, generation, now)
            return row.moved(reached.host, None, generation, now)
        if row.asks(now):
            host = self.redirect(row)
            return row.asked(now) if host is None else self._redirected(row, host, generation, now)
        if found is not None and self._same(row, found):
            return replace(row, host=found, source=source, moved_from=None)
        return row

    def elsewhere(self, leads_to: str | None, tried: Sequence[str | None]) -> Reached | None:
        """Where a login or renewal is sent next, if a wrong host answered it or none did: where the redirect leads,
        else the host of the settings. So no returned host can lock us out for ever. None: all have been tried.
        """

        def new(host: str | None) -> bool:
            return not any(self.addresses.same(Domain.LIVE, host, each) for each in tried)

        host = None if leads_to is None or not self.addresses.follow else read_host(leads_to)
        if host is not None and self.addresses.trusts(host) and new(host) and len(tried) <= HOPS:
            return Reached(host, Source.REDIRECT)
        return Reached(None, Source.SETTINGS) if new(None) else None

    def redirect(self, row: DomainHost) -> str | None:
        """The host that a redirect of this domain leads to, if it may be followed."""
        host = None if row.leads_to is None or not self.addresses.follow else read_host(row.leads_to)
        if host is None or row.hops >= HOPS or self._same(row, host) or not self.addresses.trusts(host):
            return None
        return host

    def _redirected(self, row: DomainHost, host: str, generation: int, now: datetime) -> DomainHost:
        former = row.host or read_host(self.addresses.shown(Domain(row.domain)))
        return row.moved(host, Source.REDIRECT, generation, now, former)

    def _same(self, row: DomainHost, host: str) -> bool:
        return self.addresses.same(Domain(row.domain), host, row.host)

    def _left(self, row: DomainHost, host: str) -> bool:
        """Whether a redirect has led away from that host: the response is older than the move."""
        return row.moved_from is not None and self.addresses.same(Domain(row.domain), host, row.moved_from)
