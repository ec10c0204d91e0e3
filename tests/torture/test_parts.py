"""The parts of the torture that it rests on: links that are cut, and scripts that follow from their seeds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.waiting import eventually
from tests.torture.breaks import BREAKS
from tests.torture.broken import mend
from tests.torture.links import Link, Way
from tests.torture.moments import Moment, of_database, of_kafka, of_partner
from tests.torture.script import BRIDGE_MOMENTS, KINDS, MOST_RENEWALS, RENEWING, REPLICA_MOMENTS, blows, script


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Link, list[bytes]]]:
    """A link to a server that sends back what it gets, and what it got."""
    got: list[bytes] = []
    open_ones: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                got.append(data)
                writer.write(data)
        except OSError:
            return
        finally:
            writer.transport.abort()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(answer(reader, writer))
        open_ones.add(task)
        task.add_done_callback(open_ones.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    link = await Link(server.sockets[0].getsockname()[1]).start()
    try:
        yield link, got
    finally:
        await link.stop()
        server.close()
        await asyncio.gather(*open_ones)


@pytest.mark.parametrize("way", list(Way))
async def test_a_link_that_is_cut_holds_bytes_back_until_it_is_mended(way: Way) -> None:
    """Cut towards the server nothing arrives there; cut towards the client the answer does not."""
    async with echo() as (link, got):
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        link.cut(way)
        writer.write(b"a question")
        if way is Way.BACK:
            await eventually(lambda: got == [b"a question"])
        read = asyncio.ensure_future(reader.read(100))
        assert not await asyncio.wait_for(asyncio.shield(_held(link, way)), 5)
        assert not read.done()
        assert (got == []) == (way is Way.THERE)
        link.restore()
        assert await asyncio.wait_for(read, 5) == b"a question"
        writer.close()


async def _held(link: Link, way: Way) -> bool:
    return link._ways[way].open.is_set()


async def test_what_a_sender_gave_up_is_not_delivered_late() -> None:
    """A connection that ends while its link is cut is lost with its bytes; the next one works."""
    async with echo() as (link, got):
        link.cut(Way.THERE)
        _, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(b"too late")
        writer.close()
        await eventually(lambda: not link._tasks)
        link.restore()
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(b"in time")
        assert await asyncio.wait_for(reader.read(100), 5) == b"in time"
        assert got == [b"in time"]
        writer.close()


async def test_a_link_that_is_reset_ends_its_connections() -> None:
    """The client reads the end, and may connect again."""
    async with echo() as (link, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(b"a question")
        assert await asyncio.wait_for(reader.read(100), 5) == b"a question"
        await link.reset()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
        writer.close()


def test_a_script_follows_from_its_seed() -> None:
    """The same seed has the same misfortunes, another seed has others; each kind comes, and few take a renewal."""
    assert script(5, 180, 0.9) == script(5, 180, 0.9) != script(6, 180, 0.9)
    found = [each.kind for seed in range(20) for each in script(seed, 180, 0.9)]
    assert set(found) == set(KINDS)
    for seed in range(20):
        assert sum(each.kind in RENEWING for each in script(seed, 180, 0.9)) <= MOST_RENEWALS


def test_blows_are_as_dense_as_asked_for() -> None:
    """Kills and freezes come at their rate, at every moment that a member's work has, and follow from the seed."""
    assert blows(5, 180, 4) == blows(5, 180, 4) != blows(6, 180, 4)
    found = [each for seed in range(20) for each in blows(seed, 180, 4)]
    assert 3.5 < len(found) / (20 * 180) < 4.5
    assert {each.moment for each in found} == {*REPLICA_MOMENTS, *BRIDGE_MOMENTS}
    kinds = Counter((each.kind, each.freeze > 0) for each in found)
    assert min(kinds.values()) > len(found) / 50, kinds


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_changes_what_is_there(name: str) -> None:
    """A broken program replaces functions that the worker has: none was renamed or moved since."""
    try:
        BREAKS[name].apply()
    finally:
        mend()


@pytest.mark.parametrize(
    ("moment", "of", "way", "data"),
    [
        (Moment.CALL_SENT, of_partner, Way.THERE, b"POST /live/v1/user/createEvaluationUsers HTTP/1.1\r\n"),
        (Moment.LOOK_UP, of_partner, Way.THERE, b"GET /demo/v1/account/find?name=EVAL1 HTTP/1.1\r\n"),
        (None, of_partner, Way.THERE, b"POST /live/v1/auth/accesstokenrequest HTTP/1.1\r\n"),
        (Moment.ANSWERED, of_partner, Way.BACK, b"HTTP/1.1 200 OK\r\n"),
        (Moment.SIGNAL, of_partner, Way.BACK, b'\x81\x20a[{"e":"props","d":{"entityType":"adminAlertSignal"'),
        (Moment.TRANSACTION, of_database, Way.THERE, b"Q\x00\x00\x00\x0abegin\x00"),
        (Moment.COMMIT, of_database, Way.THERE, b"Q\x00\x00\x00\x0bcommit\x00"),
        (Moment.PUBLISHING, of_kafka, Way.THERE, b"\x00\x00\x01\x00\x00\x00\x00\x07"),
        (Moment.OFFSETS, of_kafka, Way.THERE, b"\x00\x00\x01\x00\x00\x08\x00\x07"),
    ],
)
def test_moments_are_seen_in_what_passes_a_link(
    moment: Moment | None, of: Callable[[Way, bytes], Moment | None], way: Way, data: bytes
) -> None:
    """A call, a look-up, a transaction and a record that is published are known by their bytes."""
    assert of(way, data) is moment
