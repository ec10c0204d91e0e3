"""What is wrong now, in one line at the top of the first page, the worst first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from worker.ledger import holds
from worker.ledger.holds import Hold
from worker.operate.console.display import when
from worker.operate.quantities import count, span


class Level(StrEnum):
    """How bad it is; the page says it in words, and colours it."""

    GOOD = "good"
    NOTICE = "notice"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Remark:
    """One sentence, and where what it reports is to be seen."""

    text: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Headline:
    """One line, and what else there is."""

    level: Level
    first: Remark
    more: Sequence[Remark] = ()

    @property
    def text(self) -> str:
        """The first line's."""
        return self.first.text

    @property
    def state(self) -> str:
        """In a word or two, for a browser's title."""
        if self.level is Level.GOOD:
            return "all well"
        problems = len(self.more) + 1
        word = "problem" if self.level is Level.BAD else "notice"
        return f"{problems} {word}{'' if problems == 1 else 's'}"


HOLDS, PARTNER, KAFKA, PRESENT = "/#holds", "/#partner", "/#kafka", "/#present"
BUDGET, OLDEST = "/#budget", "/#oldest"
"""Sections of the first page."""

LATE = timedelta(minutes=30)
"""A flow that is older than that and waits for nothing named is worth a look: retries reach five minutes by then."""


RISK_LATE = timedelta(minutes=1)
"""A change of a risk status is published within a second."""


@dataclass(frozen=True, slots=True)
class HeadlineFacts:
    """What the line is made of; None: not known."""

    now: datetime
    held: Sequence[Hold] = ()
    budget_left: int = 1
    budget_free_at: datetime | None = None
    in_doubt: int = 0
    oldest: timedelta | None = None
    oldest_why: str = ""
    oldest_flow: str = ""
    workers: int = 1
    missing: Sequence[str] = ()  # replicas that were there until not long ago
    bridges: int | None = None  # None: no bridge has ever been seen
    bridge_leads: bool = True
    risk_waits: timedelta | None = None  # how long the oldest change of a risk status has waited for its topic
    kafka: str | None = None  # why it cannot be reached
    wrong_hosts: Sequence[str] = ()  # domains whose calls wait because their host is wrong, each with why
    dead_letters: int | None = None  # that are open: neither replayed nor dismissed


def headline(facts: HeadlineFacts) -> Headline:
    """The worst thing first; what else is wrong after it."""
    bad, notices = list(_bad(facts)), list(_notices(facts))
    said = bad + notices
    if not said:
        return Headline(Level.GOOD, Remark("Nothing is wrong."))
    return Headline(Level.BAD if bad else Level.NOTICE, said[0], said[1:])


def _bad(facts: HeadlineFacts) -> list[Remark]:
    said = [Remark(_held(hold), HOLDS) for hold in facts.held if hold.scope in (holds.ALL, holds.LOGIN)]
    said += [Remark(f"{each}.", PARTNER) for each in facts.wrong_hosts]
    if facts.kafka is not None:
        text = f"Kafka cannot be reached ({facts.kafka}): no event comes in and no outcome goes out."
        said.append(Remark(text, KAFKA))
    if not facts.workers:
        said.append(Remark("No worker replica is running.", PRESENT))
    if facts.in_doubt:
        verb = "is" if facts.in_doubt == 1 else "are"
        text = f"{count(facts.in_doubt, 'flow')} {verb} in doubt: an operator must look at Tradovate and resolve."
        said.append(Remark(text, "/flows?state=in_doubt"))
    if facts.bridges is not None and not (facts.bridges and facts.bridge_leads):
        said.append(Remark("No bridge is at work: signed agreements reach nobody until one is.", PRESENT))
    return said


def _notices(facts: HeadlineFacts) -> list[Remark]:
    said = [Remark(_held(hold), HOLDS) for hold in facts.held if hold.scope.startswith(("pause:", "endpoint:"))]
    if facts.budget_left <= 0:
        free = f"; the next call is free at {when(facts.budget_free_at)}" if facts.budget_free_at else ""
        said.append(Remark(f"The hour's budget is used up, but for revocations and sessions{free}.", BUDGET))
    if facts.oldest is not None and facts.oldest > LATE:
        text = f"The oldest flow has waited for {_minutes(facts.oldest)}. {facts.oldest_why}"
        said.append(Remark(text, f"/flows/{facts.oldest_flow}" if facts.oldest_flow else OLDEST))
    if facts.risk_waits is not None and facts.risk_waits >= RISK_LATE:
        waited = _minutes(facts.risk_waits)
        text = f"Changes of risk statuses have waited for {waited}: their topic accepts none, or no bridge is at work."
        said.append(Remark(text, PRESENT))
    if facts.missing:
        verb = "does" if len(facts.missing) == 1 else "do"
        said.append(Remark(f"{', '.join(facts.missing)} {verb} not answer any more.", PRESENT))
    if facts.dead_letters:
        verb = "waits" if facts.dead_letters == 1 else "wait"
        said.append(Remark(f"{count(facts.dead_letters, 'dead letter')} {verb} to be looked at.", "/dead-letters"))
    return said


def _minutes(waited: timedelta) -> str:
    # Whole minutes: the line is read aloud whenever it changes.
    return span(timedelta(minutes=waited // timedelta(minutes=1)))


def _held(hold: Hold) -> str:
    ending = f"until {when(hold.until)}" if hold.until is not None else "until an operator ends it"
    kind, _, rest = hold.scope.partition(":")
    what = {
        holds.ALL: "All calls are silent",
        holds.LOGIN: "Nobody logs in",
        holds.PAUSE_ALL: "All calls are paused",
    }.get(hold.scope, f"{rest} is {'paused' if kind == 'pause' else 'held back'}")
    return f"{what} {ending}: {hold.why}."
