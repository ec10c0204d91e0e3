"""What the bench prints of a measurement."""

from __future__ import annotations

import pytest

from tests.bench.figures import Figure, at_least, at_most
from tests.bench.plot import plot
from tests.bench.run import LONG, PARTS, main


def test_a_figure_shows_its_median_and_its_spread() -> None:
    """Beside the median of the rounds stand the smallest and the greatest value."""
    assert Figure("rate", [1200.0, 900.0, 1000.0], "a second", digits=0).measured == "1,000 a second (900 to 1,200)"


def test_the_median_decides_whether_a_target_is_reached() -> None:
    """One bad round does not miss a target, and a value at the limit reaches it."""
    assert Figure("time", [1.2, 9.0, 1.3], "times", at_most(1.3)).reached == "reached"
    assert Figure("time", [1.2, 9.0, 1.4], "times", at_most(1.3)).reached == "missed"
    assert Figure("rate", [250, 1, 300], "times", at_least(250)).reached == "reached"
    assert Figure("rate", [250, 1, 249], "times", at_least(250)).reached == "missed"
    assert Figure("rate", [250], "times").reached == ""


@pytest.mark.parametrize("option", ["--only=lone,none", "--postgres=none", "--rounds=0", "--burst=0"])
def test_what_cannot_be_measured_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown part or server, or no rounds, ends the bench before anything starts."""
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_each_part_says_what_it_measures() -> None:
    """The sentence is printed while the part runs."""
    assert all(part.__doc__ for part in (*PARTS.values(), *LONG.values()))


def test_a_series_is_drawn_from_zero_to_its_largest_value() -> None:
    """What levels off is a flat line at its height, not a magnified tremble."""
    assert plot({"flows": [0, 50, 100, 99]}, "a week") == "a week\nflows  ▄██ 0 at first, 100 at most, 99 at the end"
