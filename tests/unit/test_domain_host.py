"""What is known of a domain's host, whatever replies come in whatever order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from worker.ledger.host_table import ASK_AGAIN, ASK_AGAIN_WEAK, LONGEST_WAIT, DomainHost, Gate, Sign
from worker.partner.hosts import Addresses, ReturnedHosts, Source
from worker.replies import Domain
from worker.session.host_changes import HOPS, HostRules, Reached

NOW = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
ADDRESSES = Addresses(
    {domain: f"https://{domain}.example/v1" for domain in Domain},
    {domain: f"wss://{domain}.example/v1/websocket" for domain in Domain},
    ("example",),
)
OURS = b"ours"
PLACES = HostRules(ADDRESSES, OURS, lambda belongs: belongs == OURS)
HOSTS = st.sampled_from(["demo.example", "a.example", "b.example", "evil.invalid"])
TRUSTED = st.sampled_from(["demo.example", "a.example", "b.example"])


class Doubts(RuleBasedStateMachine):
    """A domain that is doubted, asked for, proven and moved in any order, with time passing in between."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.generation = 1
        self.renewals: list[datetime] = []

    @initialize()
    def starts(self) -> None:
        self.row = DomainHost(domain="demo", belongs=OURS)

    @rule(seconds=st.sampled_from([0.1, 1, 20, 200, 400, 1000]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(strong=st.booleans(), socket=st.booleans(), leads_to=st.none() | HOSTS)
    def speaks_against(self, strong: bool, socket: bool, leads_to: str | None) -> None:
        sign = Sign("why", strong=strong, begun_at=self.now, leads_to=leads_to if strong else None, socket=socket)
        self.row = self.row.doubted(sign, self.now)

    @rule(found=st.none() | TRUSTED)
    def is_renewed_if_it_asks(self, found: str | None) -> None:
        if not self.row.asks(self.now):
            return
        self.generation += 1
        self.renewals.append(self.now)
        offer = ReturnedHosts() if found is None else ReturnedHosts({Domain.DEMO: found})
        reached = Reached(None, Source.SETTINGS)
        before = self.row
        (self.row,) = PLACES.answered([before], offer, reached, Source.RENEWAL, self.generation, self.now)
        if self.row.host == before.host and self.row.doubt is not None:
            least = ASK_AGAIN if before.strong else ASK_AGAIN_WEAK
            assert self.row.ask_at == self.now + least

    @rule(seconds=st.sampled_from([0.5, 5, 15, 180, 3000]))
    def cannot_be_renewed(self, seconds: float) -> None:
        if self.row.asks(self.now):
            self.generation += 1
            until = self.now + timedelta(seconds=seconds)
            (self.row,) = PLACES.not_asked([self.row], until, self.generation, self.now)

    @rule()
    def a_call_succeeds(self) -> None:
        gate = self.row.gate("send", self.now, None)
        if gate in (Gate(), Gate(one=True)):  # what `hosts.PROVEN` writes
            self.row = replace(
                self.row,
                doubt=None,
                strong=False,
                doubted_at=None,
                leads_to=None,
                asked_at=None,
                try_at=None,
                tries=0,
                hops=0,
            )

    @invariant()
    def only_trusted_hosts_are_used(self) -> None:
        assert self.row.host is None or ADDRESSES.trusts(self.row.host)

    @invariant()
    def nobody_waits_longer_than_promised(self) -> None:
        gate = self.row.gate("send", self.now, None)
        assert gate.until is None or self.now < gate.until <= self.now + timedelta(seconds=LONGEST_WAIT)

    @invariant()
    def without_a_doubt_all_calls_go(self) -> None:
        if self.row.doubt is None:
            assert self.row.gate("send", self.now, self.now + timedelta(minutes=1)) == Gate()

    @invariant()
    def a_socket_is_never_held_back_for_its_own_back_off(self) -> None:
        gate = self.row.gate("socket", self.now, None)
        assert not gate.one
        assert gate.until is None or self.row.asked_at is None

    @invariant()
    def redirects_do_not_lead_in_a_circle_for_ever(self) -> None:
        assert self.row.hops <= HOPS


TestDoubts = Doubts.TestCase


@given(st.lists(TRUSTED, max_size=4), st.booleans())
def test_a_response_wins_field_by_field(names: list[str], live: bool) -> None:
    """Whatever was resolved before, what a response names is used, and what it does not name stays."""
    rows = [DomainHost(domain=domain.value, belongs=OURS) for domain in Domain]
    reached = Reached(None, Source.SETTINGS)
    for generation, name in enumerate(names, 1):
        offer = ReturnedHosts({Domain.DEMO: name} | ({Domain.LIVE: "live.example"} if live else {}))
        rows = PLACES.answered(rows, offer, reached, Source.RENEWAL, generation, NOW)
        rows = PLACES.answered(rows, ReturnedHosts(), reached, Source.RENEWAL, generation, NOW)
    used = PLACES.hosts(rows)
    assert used.get(Domain.DEMO) == (names[-1] if names else None)
    assert used.get(Domain.LIVE) == ("live.example" if live and names else None)


@given(st.lists(HOSTS, max_size=6))
def test_a_login_is_sent_to_trusted_hosts_only_and_not_for_ever(redirects: list[str]) -> None:
    """Wherever one host after the other redirects it: to no other, to none twice, and it ends."""
    tried: list[str | None] = [None]
    for leads_to in redirects:
        reached = PLACES.elsewhere(leads_to, tried)
        if reached is None:
            break
        assert reached.host is None or ADDRESSES.trusts(reached.host)
        assert not any(ADDRESSES.same(Domain.LIVE, reached.host, each) for each in tried)
        tried.append(reached.host)
    assert len(tried) <= HOPS + 2
