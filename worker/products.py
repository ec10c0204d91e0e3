"""The catalogue: product id -> the evaluation account that it stands for (`PRODUCTS_FILE`, TOML)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from schemas.events import Account
from schemas.faults import fault
from worker.errors import OperatorError

MAX_ID_CHARACTERS = 128
"""As long as a product may be in an event."""


class CatalogueFault(Enum):
    """What is wrong with a catalogue, for an operator."""

    UNREADABLE = "The catalogue cannot be read: {detail}."
    NOT_UTF8 = "The catalogue is not valid UTF-8."
    NOT_TOML = "The catalogue is not valid TOML: {detail}."
    TOO_DEEP = "The catalogue is not valid TOML: it is nested too deeply."
    TOO_LONG = "The catalogue is not valid TOML: a number has too many digits."
    PRODUCT_ID = "A product's id must have 1 to 128 characters."
    NOT_A_TABLE = 'Product "{product}" must be a table that begins with ["{product}"].'
    HAS_A_NAME = 'Product "{product}": name must be left out, since an account name belongs to one order.'
    FIELD = 'Product "{product}": {detail}'


class CatalogueError(OperatorError):
    """The catalogue cannot be used. `product`: which one is wrong; `detail`: what the system, the TOML parser or the
    check of a field has said, without a value of the catalogue.
    """

    code = 2

    def __init__(self, fault: CatalogueFault, product: str = "", detail: str = "") -> None:
        super().__init__(fault.name, product, detail)
        self.fault = fault
        self.product = product
        self.detail = detail

    @property
    def sentence(self) -> str:
        """With the setting that names the file."""
        return f"PRODUCTS_FILE: {self.fault.value.format(product=self.product, detail=self.detail)}"


def load_products(path: Path) -> Mapping[str, Account]:
    """The products in `path`, in the order in which they stand there.

    Raises `CatalogueError`: no such file, not TOML, not a table a product, a field that is misspelt, missing or
    wrong. A catalogue entry has no `name`: it would give every order's account the same one.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogueError(CatalogueFault.UNREADABLE, detail=str(error.strerror)) from error
    except UnicodeDecodeError:
        raise CatalogueError(CatalogueFault.NOT_UTF8) from None
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(CatalogueFault.NOT_TOML, detail=str(error)) from None
    except RecursionError:
        raise CatalogueError(CatalogueFault.TOO_DEEP) from None
    except ValueError:  # Python reads whole numbers of at most 4300 digits
        raise CatalogueError(CatalogueFault.TOO_LONG) from None
    return MappingProxyType({product: _account(product, table) for product, table in tables.items()})


def _account(product: str, table: object) -> Account:
    if not 1 <= len(product) <= MAX_ID_CHARACTERS or "\0" in product:
        raise CatalogueError(CatalogueFault.PRODUCT_ID)
    if not isinstance(table, dict):
        raise CatalogueError(CatalogueFault.NOT_A_TABLE, product)
    if "name" in table:
        raise CatalogueError(CatalogueFault.HAS_A_NAME, product)
    try:
        return Account.model_validate(table)
    except ValidationError as error:
        raise CatalogueError(CatalogueFault.FIELD, product, fault(error).sentence) from None
