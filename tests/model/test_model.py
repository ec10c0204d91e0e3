"""The model of a step's life, checked exhaustively by spin; and that it is a model of this program."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lacking import lacks
from worker.engine.states import MOVES

MODEL = Path(__file__).parent / "step.pml"

DEPTH, HASH = "-m100000", "-w22"
"""Steps of the longest path, which takes a few hundred; bits of the hash table."""

NO_CLAIM = ("-DSAFETY", "-DNOCLAIM", "-DCOLLAPSE")
"""Assertions and dead ends, without the claim of what happens in the end."""

FAIR = ("-DCOLLAPSE", "-DNFAIR=3")
"""With that claim, while no part that could go on is left waiting for ever."""

BROKEN = {
    # What is broken: the partner, whether there is one step or two, what spin finds.
    "UNKNOWN": ("look_up", 1, "effects"),
    "PARK": ("neither", 1, "effects"),
    "FRESH": ("look_up", 1, "effects"),
    "DURABLE": ("look_up", 1, "effects"),
    "SETTLE": ("look_up", 1, "effects"),
    "SPLIT": ("look_up", 2, "effects"),
    "RECORD": ("look_up", 1, "outcome"),
    "PROOF": ("look_up", 1, "effects"),
    "OUTBOX": ("names", 1, "invalid end state"),
    "REAPER": ("names", 1, "invalid end state"),
    "TICKET": ("names", 2, "invalid end state"),
    "PATIENCE": ("look_up", 1, "acceptance cycle"),
}


@pytest.fixture
def spin(request: pytest.FixtureRequest) -> None:
    """The model checker is there."""
    missing = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    if missing:
        lacks(request, f"The model was not checked: no {' and no '.join(missing)} (Debian: apt-get install spin gcc)")


def checked(workplace: Path, model: tuple[str, ...], compiled: tuple[str, ...]) -> str:
    """What spin says of the model with these definitions."""

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=80, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run("spin", *model, "-a", str(MODEL))
    # A short search is not worth an optimizing compiler.
    run("gcc", "-O0" if any("BREAK" in each for each in model) else "-O1", *compiled, "-o", "pan", "pan.c")
    fair = () if "-DNOCLAIM" in compiled else ("-a", "-f")
    return run("./pan", *fair, DEPTH, HASH)


def moves() -> Iterator[tuple[str, str]]:
    """The moves of the model without what is broken."""
    kept = [True]
    for line in MODEL.read_text().splitlines():
        match line.split():
            case ["#ifdef", name, *_]:
                kept.append(not name.startswith("BREAK_"))
            case ["#ifndef", name, *_]:
                kept.append(True)
            case ["#else", *_]:
                kept[-1] = True
            case ["#endif", *_]:
                kept.pop()
            case _:
                yield from re.findall(r"MOVE\(\w, (\w+), (\w+)\)", line) if all(kept) else ()


def test_the_model_makes_exactly_the_moves_of_the_engine() -> None:
    """The moves of a step in the model are those of the engine's table: neither changes alone."""
    allowed = {(before.value, after.value) for before, afters in MOVES.items() for after in afters}
    assert set(moves()) - {("before", "after")} == allowed
    written = re.findall(r"^.*\bstate\[\w\] = .*$", MODEL.read_text(), re.MULTILINE)
    begun = [line for line in written if "state[s] = after" not in line]
    assert all(re.search(r"-> state\[s\] = (waiting|due|unknown)$|^ +state\[1\] = refused;", line) for line in begun)


@pytest.mark.usefixtures("spin")
def test_no_order_has_two_effects_and_there_is_no_dead_end(tmp_path: Path) -> None:
    """Of two steps that may share a call, with two troubles at any points, none takes effect twice, none is said to
    have succeeded without an effect, no outcome contradicts another, and there is always a way on. Each move is made.
    """
    said = checked(tmp_path, ("-DTROUBLES=2",), NO_CLAIM)
    assert "errors: 0" in said, said
    assert "Search not completed" not in said
    assert "assert((state[0]" not in said.split("unreached in", 1)[1]


@pytest.mark.usefixtures("spin")
def test_every_outcome_is_published_in_the_end(tmp_path: Path) -> None:
    """Of a step with five troubles at any points, the outcome is published in the end, if no part that could go on is
    left waiting for ever.
    """
    said = checked(tmp_path, ("-DTROUBLES=5", "-DONE"), FAIR)
    assert "errors: 0" in said, said
    assert "Search not completed" not in said


@pytest.mark.usefixtures("spin")
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_program_is_refuted(tmp_path: Path, broken: str) -> None:
    """Of each way to break the program spin finds what it does: a second effect, or an outcome that is wrong or never
    published.
    """
    kind, steps, what = BROKEN[broken]
    model = (f"-DBREAK_{broken}", f"-DKIND={kind}", *(("-DONE", "-DTROUBLES=3") if steps == 1 else ("-DTROUBLES=2",)))
    said = checked(tmp_path, model, FAIR if what == "acceptance cycle" else NO_CLAIM)
    assert re.search(rf"pan:1: .*{what}", said), said


def test_every_way_to_break_it_is_tried() -> None:
    """No broken variant of the model is forgotten here."""
    assert set(re.findall(r"BREAK_([A-Z]+)", MODEL.read_text())) == set(BROKEN)
