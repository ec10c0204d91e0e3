"""Dead letters: by topic and reason, one with what is personal masked; one or all back on their topic; dismissed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import Response

from schemas.events import TOPICS
from worker.intake.parse import CODES
from worker.intake.replay import Stored
from worker.kafka.read import Record
from worker.ledger import kept_dead_letters, page_queries
from worker.ledger.crypto import Sealed
from worker.ledger.database import Database, DatabaseError
from worker.operate.console.first_page import Kafka, left
from worker.operate.console.kafka_records import KafkaUnavailable, Letter, Letters, Records
from worker.operate.console.masking import masked_headers, masked_key, masked_value
from worker.operate.console.render import Renderer
from worker.operate.console.requests import Form, by_of, choice_of, reason_of, text_of
from worker.operate.console.session import Session

log = structlog.get_logger()

PAGE = 50

REASONS = (*CODES, "internal_error")


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """`kafka` is the overview's own look at the offsets: how many wait is the same on both pages."""

    database: Database
    records: Records
    kafka: Kafka
    render: Renderer

    async def page(self, request: Request, session: Session) -> Response:
        """The newest of a topic."""
        away = ""
        waiting: Mapping[str, int] = {}
        found = Letters([], None)
        reason = choice_of(request, "reason", REASONS)
        topic = choice_of(request, "topic", TOPICS)
        try:
            waiting = await self._waiting()
            topic = topic or max(waiting, key=lambda each: waiting[each], default=TOPICS[0])
            found = await self.records.letters(topic, reason, _places(text_of(request, "before")), PAGE)
        except KafkaUnavailable as error:
            away = str(error)
        except DatabaseError as error:
            away = error.sentence
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
        )

    async def letter(self, request: Request, session: Session) -> Response:
        """One of them."""
        try:
            found = await self._letter(request)
        except (KafkaUnavailable, OSError, DatabaseError) as error:
            return self._away(request, error)
        if found is None:
            return self._none(request)
        return self._shown(request, session, *found)

    async def replay(self, request: Request, session: Session, form: Form) -> Response:
        """One of them back."""
        topic = request.path_params["topic"]
        try:
            found = await self._letter(request)
            if found is None:
                return self._none(request)
            done = await self.records.put_back(topic, *found, again=form.get("again") == "yes")
        except (KafkaUnavailable, OSError, DatabaseError) as error:
            return self._away(request, error)
        log.info("console.dead_letter_put_back", topic=topic, partition=found[0].partition, offset=found[0].offset)
        return self._done(request, session, topic, done.sent, done.known, len(done.failed))

    async def dismiss(self, request: Request, session: Session, form: Form) -> Response:
        """One of them is settled: nothing has to be done about it."""
        topic = request.path_params["topic"]
        reason, by = reason_of(form), by_of(form, session)
        try:
            found = await self._letter(request)
            if found is None:
                return self._none(request)
            letter, record = found
            if not reason:
                return self._shown(request, session, letter, record, form, "Say why: it is kept with the dead letter.")
            await self.records.dismiss(topic, letter, record, reason, by)
        except (KafkaUnavailable, OSError, DatabaseError) as error:
            return self._away(request, error)
        log.info("console.dead_letter_dismissed", topic=topic, partition=letter.partition, offset=letter.offset)
        return self.render.redirect(_address(topic, letter))

    async def ask(self, request: Request, session: Session) -> Response:
        """The confirmation before all are published again."""
        topic = request.path_params["topic"]
        if topic not in TOPICS:
            return self._none(request)
        try:
            waiting = await self._waiting()
        except DatabaseError as error:
            return self._away(request, error)
        return self.render.page(request, "replay_all.html", session, topic=topic, waiting=waiting.get(topic, 0))

    async def replay_all(self, request: Request, session: Session, _form: Form) -> Response:
        """All of them back."""
        topic = request.path_params["topic"]
        if topic not in TOPICS:
            return self._none(request)
        try:
            done = await self.records.put_all_back(topic)
        except (KafkaUnavailable, OSError, DatabaseError) as error:
            return self._away(request, error)
        log.info("console.dead_letters_put_back", topic=topic, sent=done.sent, failed=len(done.failed))
        return self._done(request, session, topic, done.sent, done.known, len(done.failed))

    async def _waiting(self) -> Mapping[str, int]:
        offsets = await self.kafka()
        async with self.database.connection() as connection:
            return left(
                offsets.dead, await page_queries.replayed(connection), await kept_dead_letters.waiting(connection)
            )

    async def _letter(self, request: Request) -> tuple[Letter, Record] | None:
        topic, partition, offset = (request.path_params[name] for name in ("topic", "partition", "offset"))
        if topic not in TOPICS or partition >= 2**31 or offset >= 2**63:
            return None
        stored = Stored.LEDGER if request.query_params.get("stored") == Stored.LEDGER else Stored.TOPIC
        try:
            return await self.records.letter(topic, partition, offset, stored)
        except Sealed:
            return None

    def _shown(
        self,
        request: Request,
        session: Session,
        letter: Letter,
        record: Record,
        form: Form | None = None,
        error: str = "",
    ) -> Response:
        topic = request.path_params["topic"]
        return self.render.page(
            request,
            "dead_letter.html",
            session,
            status=422 if error else 200,
            topic=topic,
            letter=letter,
            value=masked_value(topic, record.value),
            key=masked_key(topic, record.key, record.value),
            named=masked_headers(record.headers),
            form=form or Form(),
            error=error,
        )

    def _done(self, request: Request, session: Session, topic: str, sent: int, known: int, failed: int) -> Response:
        status = 503 if failed and not sent else 200
        return self.render.page(
            request, "replayed.html", session, status=status, topic=topic, sent=sent, known=known, failed=failed
        )

    def _none(self, request: Request) -> Response:
        text = "There is no dead letter at this place, or retention has dropped it."
        return self.render.message(request, 404, "No such dead letter", text)

    def _away(self, request: Request, error: Exception) -> Response:
        text = error.sentence if isinstance(error, DatabaseError) else str(error)
        return self.render.message(request, 503, "Not now", text)


def _address(topic: str, letter: Letter) -> str:
    stored = f"?stored={letter.stored}" if letter.stored is Stored.LEDGER else ""
    return f"/dead-letters/{topic}/{letter.partition}/{letter.offset}{stored}"


def _places(text: str) -> dict[int, int]:
    """Where a page begins, by partition, as the link of the page before it says."""
    places: dict[int, int] = {}
    for part in text.split(",") if text else ():
        partition, _, offset = part.partition(":")
        if partition.isdecimal() and offset.isdecimal() and len(part) < 30:
            places[int(partition)] = int(offset)
    return places
