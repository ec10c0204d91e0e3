"""Countries: which codes there are, and which are restricted."""

from __future__ import annotations

from schemas.countries import ISO_CODES, RESTRICTED, is_restricted


def test_restricted_countries_are_countries() -> None:
    """CME's list is of real codes, and holds both countries where the page's name means two."""
    assert RESTRICTED <= ISO_CODES
    assert len(RESTRICTED) == 29
    assert {"CG", "CD", "SD", "SS"} <= RESTRICTED
    assert not {"RU", "VE", "MM", "US"} & RESTRICTED


def test_a_country_that_was_not_given_is_not_restricted() -> None:
    """One restricted country among several is enough, and a missing one counts for nothing."""
    assert is_restricted("US", None, "IR")
    assert not is_restricted("US", None)
