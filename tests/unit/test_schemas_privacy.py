"""Personal values: known to the model, gone from every text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import EVENTS
from schemas.privacy import mask

PERSONAL_NAMES = {
    "name", "email", "password", "firstName", "lastName", "streetAddress1", "streetAddress2", "city", "postCode",
    "zipCode", "phone", "taxIdentifier", "nationalId", "birthDate", "ctaContact", "ctaEmail",
}  # fmt: skip


def personal(body: Mapping[str, Any]) -> Iterator[str]:
    """The texts under personal names, at any depth; an account's name is not a person's."""
    for name, value in body.items():
        if isinstance(value, dict) and name != "account":
            yield from personal(value)
        elif name in PERSONAL_NAMES and isinstance(value, str):
            yield value


@pytest.mark.parametrize(("topic", "body"), [(t, body) for t, model in EVENTS.items() for body in model.examples])
def test_an_event_knows_its_personal_values(topic: str, body: Mapping[str, Any]) -> None:
    """Every text under a personal name is a personal value of its event, and no id, country or limit is."""
    event = EVENTS[topic].model_validate(body)
    values = event.personal_values()
    assert set(personal(body)) <= values
    assert not values & {"cust-77", "100234", "300001", "29721", "US", "DE", "TX", "MYEVAL7", "EVAL-50K", "Speculator"}


@pytest.mark.parametrize(("topic", "body"), [(t, body) for t, model in EVENTS.items() for body in model.examples])
def test_repr_shows_no_personal_value(topic: str, body: Mapping[str, Any]) -> None:
    """An event that ends up in a traceback or a log shows none of its personal values."""
    event = EVENTS[topic].model_validate(body)
    assert not [value for value in event.personal_values() if value in repr(event)]


def test_a_birth_date_is_masked_in_every_form() -> None:
    """A birth date is recognised as Tradovate might echo it: ISO, American, European, bare digits."""
    event = EVENTS["trader.passed"].model_validate(EVENTS["trader.passed"].examples[0])
    text = "1990-04-01, 04/01/1990, 4/1/1990, 01.04.1990, 19900401"
    assert mask(text, event.personal_values()) == "***, ***, ***, ***, ***"


def test_masking_ignores_case_and_spares_other_words() -> None:
    """A value is masked in any case; a short one only as a whole word, so that the sentence stays readable."""
    assert mask("JANE77 is taken, Live account is required for Li", {"jane77", "Li"}) == (
        "*** is taken, Live account is required for ***"
    )
    assert mask("Jane Doe", {"Jane", "Jane Doe"}) == "***"
    assert mask("nothing to hide", ()) == "nothing to hide"


WITHOUT_STARS = st.text(st.characters(exclude_characters="*"), min_size=4, max_size=10)


@given(st.text(max_size=40), WITHOUT_STARS, st.text(max_size=40))
def test_no_masked_value_is_left(before: str, value: str, after: str) -> None:
    """Whatever stands around a value of four characters or more, it is gone afterwards."""
    assert value not in mask(before + value + after, {value})
