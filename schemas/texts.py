"""The kinds of text on the wire. Their forms are patterns that Rust, Python and ECMAScript read alike (see `Form`)."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from schemas.rules import Form

_BLANK: Final = r"\x00-\x20\x7f-\xa0" + "\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
"""Inside of a character class: control characters, and what any of the three languages takes for white space."""

_DIGITS: Final = "".join(
    f"{chr(zero)}-{chr(zero + 9)}"
    for zero in (
        0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50, 0x0ED0,
        0x0F20, 0x1040, 0x17E0, 0x1810,
    )
)  # fmt: skip
"""The digits of living scripts other than Latin, from Arabic to Mongolian."""

_NO_LETTERS: Final = (
    r"\x00-\x1f\x21-\x26\x28-\x2c\x2f-\x40\x5b-\x60\x7b-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7"  # ASCII and Latin-1
    + _DIGITS
    + "\u2000-\u200b\u200e-\u2018\u201a-\u2bff\u2e00-\u2e7f"  # punctuation and symbols; joiners and ’ are in names
    + "\u3000-\u3004\u3008-\u3020\u3030\u30fb"  # CJK punctuation; 々 and 〆 are in names
    + "\ue000-\uf8ff\ufe10-\ufe1f\ufe30-\ufe6f\ufeff"  # private use, vertical and small forms
    + "\uff00-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffff"  # full-width forms of ASCII that are no letters, specials
)
"""Inside of a character class: what is in no name. What is left are the letters and marks of all scripts: `\\p{L}` is
not known to Python, and `\\w` has other letters in each language. Beyond U+FFFF everything passes: rare Chinese names
are there, and a class with such characters cannot be read in ECMAScript without the flag `u`."""

FILLED: Final = Form(
    rf"^[^\x00]*[^{_BLANK}][^\x00]*$", "must not be empty and must not contain NUL characters", one_line=False
)
NO_NUL: Final = Form(r"^[^\x00]*$", "must not contain NUL characters", one_line=False)
ACCOUNT_NAME: Final = Form(r"^[A-Z]+[0-9]+$", "must be capital letters followed by digits, such as EVAL100234")
EMAIL: Final = Form(rf"^[^{_BLANK}@]+@[^{_BLANK}@]+$", "must be an e-mail address")
PERSON_NAME: Final = Form(
    rf"^[ .'’\-]*[^{_NO_LETTERS} .'’\-][^{_NO_LETTERS}]*$",
    "must be letters, spaces, hyphens, apostrophes and periods only",
)
US_TAX_ID: Final = Form(r"^[0-9]{9}$", "must be exactly nine digits for a US citizen")
"""Tradovate, create partner subaccount request: for US citizens."""
NATIONAL_ID: Final = Form(r"^[A-Za-z0-9]{2,64}$", "must be 2 to 64 letters and digits")
"""Tradovate, create partner subaccount request: for all others."""

Text = Annotated[str, FILLED]
"""A text that says something. NUL is refused everywhere: PostgreSQL cannot hold U+0000."""

LooseText = Annotated[str, NO_NUL]
"""A text that may be empty: shops send `""` for an address line that a trader left blank."""

Key = Annotated[str, Field(min_length=1, max_length=128), NO_NUL]
"""An id of the shop's own: 1 to 128 characters."""

Email = Annotated[str, Field(max_length=320), EMAIL]
"""Plausible, not proven: one `@` with something on both sides; 64 + 1 + 255 characters at most (RFC 5321)."""

Password = Annotated[str, Field(min_length=8), NO_NUL]
"""Eight characters or more (Tradovate, sign-up endpoints)."""

COMBINED_NAMES: Final = 60
"""Characters of first and last name together (Tradovate, create evaluation users and update contact info)."""

PartName = Annotated[str, Field(max_length=COMBINED_NAMES - 1), FILLED]
"""A first or last name. Tradovate allows 64 characters each, but 60 together, and the other one has at least one."""

LegalName = Annotated[str, Field(max_length=COMBINED_NAMES - 1), PERSON_NAME]
"""A first or last name on a subaccount request (Tradovate, create partner subaccount request)."""

JointName = Annotated[str, Field(max_length=COMBINED_NAMES), NO_NUL]
"""A first or last name of a joint owner: either may be empty."""

AccountName = Annotated[str, Field(max_length=64), ACCOUNT_NAME]
"""Tradovate, create evaluation accounts: `^[A-Z]+[0-9]+$`, at most 64 characters."""
