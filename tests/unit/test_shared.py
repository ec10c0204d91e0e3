"""The server that all runners of a run use."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.shared import Keeper, address_of
from tests.support.waiting import eventually_sync


class _Server:
    """A server of these tests."""

    def __init__(self, address: str) -> None:
        self.bootstrap_servers = address
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def started() -> list[_Server]:
    """The servers that were started."""
    return []


@pytest.fixture
def start(started: list[_Server]) -> Callable[[], _Server]:
    """Starts a server, and each time another one."""

    def new() -> _Server:
        started.append(_Server(f"127.0.0.1:{1000 + len(started)}"))
        return started[-1]

    return new


@pytest.fixture
def keeper(start: Callable[[], _Server]) -> Iterator[Keeper]:
    """A keeper of it."""
    kept = Keeper(start)
    yield kept
    kept.close()


def test_all_that_ask_get_the_same_server(keeper: Keeper, started: list[_Server]) -> None:
    """It is started when the first one asks, and once."""
    assert started == []
    assert [address_of(keeper.place) for _ in range(3)] == ["127.0.0.1:1000"] * 3
    assert len(started) == 1


def test_the_server_ends_with_the_run(start: Callable[[], _Server], started: list[_Server]) -> None:
    """And not before."""
    keeper = Keeper(start)
    address_of(keeper.place)
    assert not started[0].closed
    keeper.close()
    assert started[0].closed


def test_a_server_that_nobody_asks_for_is_not_started(start: Callable[[], _Server], started: list[_Server]) -> None:
    """A run of other tests costs nothing."""
    Keeper(start).close()
    assert started == []


def test_a_runner_that_is_killed_while_it_waits_takes_the_server_from_no_other(started: list[_Server]) -> None:
    """Its answer goes nowhere, and the next one that asks is answered."""
    gone, asked = threading.Event(), threading.Event()

    def start() -> _Server:
        asked.set()
        gone.wait(20)
        started.append(_Server("127.0.0.1:1"))
        return started[-1]

    keeper = Keeper(start)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.connect(keeper.place)
        eventually_sync(asked.is_set)
    gone.set()
    assert address_of(keeper.place) == "127.0.0.1:1"
    assert len(started) == 1
    keeper.close()


def test_a_server_that_does_not_start_is_said_to_each_that_asks() -> None:
    """It is tried once: what fails takes minutes, and fails again."""
    tries = []

    def start() -> _Server:
        tries.append(1)
        raise OSError("no room")

    keeper = Keeper(start)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="OSError: no room"):
            address_of(keeper.place)
    assert tries == [1]
    keeper.close()
