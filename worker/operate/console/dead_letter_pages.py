"""Dead letters: by topic and reason, one with what is personal masked; one or all back on their topic; dismissed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import Response

from schemas.events import TOPICS
from worker.errors import WorkerError
from worker.intake.parse import CODES
from worker.kafka.errors import KafkaUnavailable, TopicsForbidden, TopicsMissing
from worker.ledger import kept_dead_letters, page_queries
from worker.ledger.errors import DatabaseError
from worker.operate.console.first_page import Kafka, left
from worker.operate.console.render import Renderer
from worker.operate.console.requests import SubmittedForm, by_of, choice_of, reason_of, text_of
from worker.operate.console.session import ConsoleSession
from worker.operate.dead_letter_replay import ReplayResult
from worker.operate.dead_letter_settling import DeadLetterSettling, ReplayUnderWay
from worker.operate.dead_letters import DeadLetter, DeadLetterNotFound, LetterSealed, LettersPage, Shown, Stored, Where
from worker.operate.operator_note import NoteIncomplete, note_of
from worker.operate.record_masking import masked_headers, masked_key, masked_value

log = structlog.get_logger()

PAGE = 50

REASONS = (*CODES, "internal_error")


_AWAY = (KafkaUnavailable, TopicsForbidden, DatabaseError, ReplayUnderWay)
"""Something cannot be done now."""

_NOT_THERE = (DeadLetterNotFound, TopicsMissing)


@dataclass(frozen=True, slots=True)
class DeadLetterPages:
    """`kafka` is the overview's own look at the offsets: how many wait is the same on both pages."""

    settling: DeadLetterSettling
    kafka: Kafka
    render: Renderer

    async def page(self, request: Request, session: ConsoleSession) -> Response:
        """The newest of a topic."""
        away = ""
        waiting: Mapping[str, int] = {}
        found = LettersPage([], None)
        reason = choice_of(request, "reason", REASONS)
        topic = choice_of(request, "topic", TOPICS)
        try:
            waiting = await self._waiting()
            topic = topic or max(waiting, key=lambda each: waiting[each], default=TOPICS[0])
            found = await self.settling.reader.page(topic, reason, _places(text_of(request, "before")), PAGE)
        except _AWAY as error:
            away = _away_text(error)
        older = ""
        if found.older is not None:
            before = ",".join(f"{part}:{offset}" for part, offset in sorted(found.older.items()))
            older = urlencode({"topic": topic, **({"reason": reason} if reason else {}), "before": before})
        return self.render.page(
            request,
            "dead_letters.html",
            session,
            status=503 if away else 200,
            topics=TOPICS,
            topic=topic or TOPICS[0],
            reasons=REASONS,
            reason=reason,
            waiting=waiting,
            found=found.letters,
            older=older,
            away=away,
            wrong=_what_is_wrong,
        )

    async def letter(self, request: Request, session: ConsoleSession) -> Response:
        """One of them."""
        try:
            found = await self._one(request)
        except (*_NOT_THERE, LetterSealed):
            return self._none(request)
        except _AWAY as error:
            return self._away(request, error)
        return self._shown(request, session, found)

    async def replay(self, request: Request, session: ConsoleSession, form: SubmittedForm) -> Response:
        """One of them back."""
        try:
            where = _where(request)
            done = await self.settling.replay_one(where, by_of(form, session), again=form.get("again") == "yes")
        except _NOT_THERE:
            return self._none(request)
        except (*_AWAY, LetterSealed) as error:
            return self._away(request, error)
        log.info("console.dead_letter_replayed", topic=where.topic, partition=where.partition, offset=where.offset)
        return self._done(request, session, where.topic, done)

    async def dismiss(self, request: Request, session: ConsoleSession, form: SubmittedForm) -> Response:
        """One of them is settled: nothing has to be done about it."""
        try:
            where = _where(request)
            await self.settling.dismiss(where, note_of(reason_of(form), by_of(form, session)))
        except NoteIncomplete:
            return await self._not_dismissed(request, session, form)
        except _NOT_THERE:
            return self._none(request)
        except _AWAY as error:
            return self._away(request, error)
        log.info("console.dead_letter_dismissed", topic=where.topic, partition=where.partition, offset=where.offset)
        return self.render.redirect(_address(where))

    async def _not_dismissed(self, request: Request, session: ConsoleSession, form: SubmittedForm) -> Response:
        try:
            found = await self._one(request)
        except (*_NOT_THERE, LetterSealed):
            return self._none(request)
        except _AWAY as error:
            return self._away(request, error)
        return self._shown(request, session, found, form, "Say why: it is kept with the dead letter.")

    async def ask(self, request: Request, session: ConsoleSession) -> Response:
        """The confirmation before all are published again."""
        topic = request.path_params["topic"]
        if topic not in TOPICS:
            return self._none(request)
        try:
            waiting = await self._waiting()
        except DatabaseError as error:
            return self._away(request, error)
        return self.render.page(request, "replay_all.html", session, topic=topic, waiting=waiting.get(topic, 0))

    async def replay_all(self, request: Request, session: ConsoleSession, form: SubmittedForm) -> Response:
        """All of them back."""
        topic = request.path_params["topic"]
        if topic not in TOPICS:
            return self._none(request)
        try:
            done = await self.settling.replay_all(topic, by_of(form, session))
        except TopicsMissing:
            return self._none(request)
        except (*_AWAY, LetterSealed) as error:
            return self._away(request, error)
        if done.stopped is not None:
            return self._away(request, done.stopped, f" {done.sent} were replayed.")
        log.info("console.dead_letters_replayed", topic=topic, sent=done.sent, failed=len(done.failed))
        return self._done(request, session, topic, done)

    async def _waiting(self) -> Mapping[str, int]:
        offsets = await self.kafka()
        async with self.settling.reader.database.connection() as connection:
            return left(
                offsets.dead, await page_queries.replayed(connection), await kept_dead_letters.waiting(connection)
            )

    async def _one(self, request: Request) -> Shown:
        """Raises what the reader raises, also where it could do without the ledger: the page shows what that says."""
        found = await self.settling.reader.one(_where(request))
        if found.ledger_error is not None:
            raise found.ledger_error
        return found

    def _shown(
        self,
        request: Request,
        session: ConsoleSession,
        found: Shown,
        form: SubmittedForm | None = None,
        error: str = "",
    ) -> Response:
        topic, record = found.letter.topic, found.record
        return self.render.page(
            request,
            "dead_letter.html",
            session,
            status=422 if error else 200,
            topic=topic,
            letter=found.letter,
            value=masked_value(topic, record.value),
            key=masked_key(topic, record.key, record.value),
            named=masked_headers(record.headers),
            form=form or SubmittedForm(),
            error=error,
            wrong=_what_is_wrong,
        )

    def _done(self, request: Request, session: ConsoleSession, topic: str, done: ReplayResult) -> Response:
        sent, failed = done.sent, len(done.failed)
        status = 503 if failed and not sent else 200
        return self.render.page(
            request, "replayed.html", session, status=status, topic=topic, sent=sent, known=done.known, failed=failed
        )

    def _none(self, request: Request) -> Response:
        text = "There is no dead letter at this place, or retention has dropped it."
        return self.render.message(request, 404, "No such dead letter", text)

    def _away(self, request: Request, error: WorkerError, more: str = "") -> Response:
        return self.render.message(request, 503, "Not now", f"{_away_text(error)}{more}")


def _away_text(error: WorkerError) -> str:
    match error:
        case KafkaUnavailable(answered=False):
            return f"Kafka cannot be reached ({error.name}): try again."
        case LetterSealed():
            return "No part of SECRET_KEY opens a dead letter that the ledger keeps."
        case _:
            return error.sentence


def _where(request: Request) -> Where:
    """The position that an address names. Raises `DeadLetterNotFound` for one that can have none."""
    topic, partition, offset = (request.path_params[name] for name in ("topic", "partition", "offset"))
    stored = Stored.LEDGER if request.query_params.get("stored") == Stored.LEDGER else Stored.TOPIC
    where = Where(topic, partition, offset, stored)
    if topic not in TOPICS:
        raise DeadLetterNotFound(where)
    return where


def _what_is_wrong(letter: DeadLetter) -> str:
    error = letter.error or ""
    if letter.refusal is None:
        return error
    return f"{error} It is kept in the ledger, because its topic does not accept it ({letter.refusal})."


def _address(where: Where) -> str:
    stored = f"?stored={where.stored}" if where.stored is Stored.LEDGER else ""
    return f"/dead-letters/{where.topic}/{where.partition}/{where.offset}{stored}"


def _places(text: str) -> dict[int, int]:
    """Where a page begins, by partition, as the link of the page before it says."""
    places: dict[int, int] = {}
    for part in text.split(",") if text else ():
        partition, _, offset = part.partition(":")
        if partition.isdecimal() and offset.isdecimal() and len(part) < 30:
            places[int(partition)] = int(offset)
    return places
