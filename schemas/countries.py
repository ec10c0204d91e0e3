"""Countries: which codes exist (ISO 3166-1 alpha-2), and which CME restricts."""

from __future__ import annotations

from typing import Annotated, Final

from typing_extensions import TypeAliasType

from schemas.rules import Checked

ISO_CODES: Final = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA
    CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA
    GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
    KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS
    MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS
    RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW
    TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW XK
    """.split()  # noqa: SIM905 - 250 quoted codes are harder to read
)
"""The 249 assigned codes, and XK: not assigned, but in general use for Kosovo."""

RESTRICTED: Final = frozenset(
    "AF AL AQ BY BF TD CG CD CI CU DJ TL GW IR JO LA LS LY MW KP PS RW SL SO SD SS SY TJ YE".split()  # noqa: SIM905 - as above
)
"""CME's list as Tradovate publishes it (reference, CME restricted countries).

The page says "Congo" and "Sudan/South Sudan" without saying which: both of each are here. Russia, Venezuela and
Myanmar are not on the list.
"""


def is_restricted(*codes: str | None) -> bool:
    """Whether any of these countries is on CME's list. `None` is a country that was not given."""
    return any(code in RESTRICTED for code in codes)


_CODE: Final = Checked(
    holds=ISO_CODES.__contains__,
    says="must be a two-letter ISO 3166-1 country code in capitals, such as US",
    schema={"enum": sorted(ISO_CODES), "description": "ISO 3166-1 alpha-2 in capitals, or XK (Kosovo)."},
)

Country = TypeAliasType("Country", Annotated[str, _CODE])
"""A two-letter country (Tradovate: `country` is ISO alpha-2)."""
