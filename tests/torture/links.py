"""A network link between two parts, as a TCP proxy: cut or slowed, in one direction or in both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

from tests.support.waiting import let_time_pass


class Way(Enum):
    """A direction. `THERE`: from the client to the server."""

    THERE = "there"
    BACK = "back"


@dataclass
class _Direction:
    """`open`: whether bytes pass. `delay`: seconds that each piece of data takes."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    delay: float = 0.0

    def __post_init__(self) -> None:
        self.open.set()


@dataclass
class Link:
    """Listens on `port`, and leads to `target` of this machine. While a direction is cut its bytes are held back, as
    TCP holds what is not acknowledged; they arrive when it is restored. `reset` ends all connections.
    """

    target: int
    port: int = 0
    watcher: Callable[[Way, bytes, int], Callable[[], None]] | None = None
    """Is shown each piece of data before it passes, with the client's port; what it returns is called afterwards."""
    _ways: dict[Way, _Direction] = field(default_factory=lambda: {way: _Direction() for way in Way})
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> Self:
        """Begins to listen; port 0 takes a free one."""
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def cut(self, *ways: Way) -> None:
        """No byte passes in these directions."""
        for way in ways:
            self._ways[way].open.clear()

    def slow(self, seconds: float, *ways: Way) -> None:
        """Each piece of data takes so long in these directions."""
        for way in ways:
            self._ways[way].delay = seconds

    def restore(self) -> None:
        """Both directions pass at once."""
        for way in self._ways.values():
            way.delay = 0.0
            way.open.set()

    async def reset(self) -> None:
        """Ends every connection. New ones are accepted."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Ends everything."""
        if self._server is not None:
            self._server.close()
        await self.reset()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back: asyncio.StreamWriter | None = None
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            port = writer.get_extra_info("peername")[1]
            ways = [self._pump(reader, back, Way.THERE, port), self._pump(there, writer, Way.BACK, port)]
            running = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                for each in running:
                    each.cancel()
                await asyncio.gather(*running, return_exceptions=True)
        except OSError:
            return  # the server is down: the client sees its connection end
        finally:
            for end in (writer, back):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, port: int) -> None:
        direction = self._ways[way]
        while data := await reader.read(65_536):
            if direction.delay:
                await let_time_pass(direction.delay)
            if not direction.open.is_set():
                data = await self._held_back(reader, direction, data)
            passed = self.watcher(way, data, port) if self.watcher is not None else None
            writer.write(data)
            await writer.drain()
            if passed is not None:
                passed()
        writer.write_eof()

    async def _held_back(self, reader: asyncio.StreamReader, direction: _Direction, data: bytes) -> bytes:
        """All that was sent until the link is restored. What a sender leaves behind that ends the connection meanwhile
        is lost, as with a network: it is not delivered late. Raises `OSError` then.
        """
        restored = asyncio.ensure_future(direction.open.wait())
        try:
            while not direction.open.is_set():
                more = asyncio.ensure_future(reader.read(65_536))
                await asyncio.wait((restored, more), return_when=asyncio.FIRST_COMPLETED)
                if not more.done():
                    more.cancel()
                    await asyncio.gather(more, return_exceptions=True)
                    break
                read = more.result()
                if not read:
                    raise ConnectionResetError
                data += read
        finally:
            restored.cancel()
        return data
