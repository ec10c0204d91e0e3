"""The catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.products import CatalogueError, CatalogueFault, load_products

GOOD = """
["EVAL-50K"]
templateAccountId = 11
initialBalance = 50000
postTradeRisk = {dailyLossAutoLiq = 1000, trailingMaxDrawdown = 2500, flattenTimestamp = 2026-11-20T23:00:00Z}

[plain]
templateAccountId = 12
initialBalance = 25000.5
"""


def test_a_catalogue_is_read_in_its_order(tmp_path: Path) -> None:
    """Each table is a product with its template account, balance and risk."""
    path = tmp_path / "products.toml"
    path.write_text(GOOD)
    products = load_products(path)
    assert list(products) == ["EVAL-50K", "plain"]
    risk = products["EVAL-50K"].post_trade_risk
    assert risk is not None
    assert risk.daily_loss_auto_liq == 1000
    assert products["plain"].initial_balance == 25000.5


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[a]\ntemplateAccountId = 1\ninitialBalance = 5\ndailyLos = 1\n", ('"a"', "dailyLos")),
        ("[a]\ntemplateAccountId = 1\ninitialBalance = 5\npostTradeRisk = {dailyLossAutoLik = 1}\n",
         ('"a"', "postTradeRisk.dailyLossAutoLik", "did you mean dailyLossAutoLiq")),
        ("[a]\ninitialBalance = 5\n", ('"a"', "templateAccountId is missing")),
        ("[a]\ntemplateAccountId = 1\ninitialBalance = nan\n", ('"a"', "initialBalance")),
        ('[a]\ntemplateAccountId = 1\ninitialBalance = 5\nname = "EVAL1"\n', ('"a"', "name must be left out")),
        ("a = 1\n", ('"a"', "table")),
        ("[a\n", ("not valid TOML",)),
        ('[""]\n', ("1 to 128",)),
        ("a = " + "[" * 100_000, ("not valid TOML", "nested too deeply")),
        ("[a]\ntemplateAccountId = " + "9" * 5000, ("not valid TOML", "too many digits")),
        ("[a]\ntemplateAccountId = 0x" + "f" * 5000, ('"a"', "templateAccountId")),
        ("[a]\n" + "a." * 5000 + "a = 1\n", ('"a"',)),
    ],
)  # fmt: skip
def test_a_bad_catalogue_names_product_and_field(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    """What is wrong with a catalogue is reported in one line that names the product and the field."""
    path = tmp_path / "products.toml"
    path.write_text(text)
    with pytest.raises(CatalogueError) as caught:
        load_products(path)
    assert all(part in caught.value.sentence for part in parts)
    assert "\n" not in caught.value.sentence


def test_a_catalogue_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """A catalogue that is not there, or is no text, is an error in one sentence."""
    with pytest.raises(CatalogueError) as absent:
        load_products(tmp_path / "none.toml")
    assert absent.value.fault is CatalogueFault.UNREADABLE
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CatalogueError) as binary:
        load_products(tmp_path / "binary.toml")
    assert binary.value.fault is CatalogueFault.NOT_UTF8
