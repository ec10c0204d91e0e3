"""How a run of the tests is shared out."""

from __future__ import annotations

import pytest

from tests.support.processes import ROOT
from tests.support.runners import TOGETHER, runners_for


@pytest.mark.parametrize("arguments", [["tests"], ["tests/unit"], ["tests/crash", "tests/unit/test_parse.py"]])
def test_a_whole_run_and_a_folder_are_shared_by_several_runners(arguments: list[str]) -> None:
    """Without options all tests run in parallel, two runners for each core and eight at most."""
    assert runners_for(arguments, selected=False, cores=2) == 6
    assert runners_for(arguments, selected=False, cores=64) == 8


@pytest.mark.parametrize(
    "arguments",
    [
        ["tests/unit/test_parse.py"],
        ["tests/unit/test_parse.py::test_a", "tests/unit/test_parse.py::test_b", "tests/unit/test_pacing.py"],
    ],
)
def test_a_few_named_files_run_without_further_runners(arguments: list[str]) -> None:
    """A file or two, or some tests of them, do not wait until runners have started."""
    assert runners_for(arguments, selected=False, cores=2) == 0


def test_selected_tests_run_without_further_runners() -> None:
    """Tests that an option picks, such as those that failed last, run one after the other."""
    assert runners_for(["tests"], selected=True, cores=2) == 0


@pytest.mark.parametrize("file", TOGETHER)
def test_files_that_stay_together_are_there(file: str) -> None:
    """A file that was renamed is not forgotten here."""
    assert (ROOT / file).is_file()
