"""The catalogue: product id -> the evaluation account that it stands for (`PRODUCTS_FILE`, TOML)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from schemas.events import Account
from schemas.faults import fault
from worker.errors import OperatorError

MAX_ID_CHARACTERS = 128
"""As long as a product may be in an event."""


class CatalogueError(OperatorError):
    """The catalogue cannot be used. The text is one sentence that names the product and the field."""

    code = 2

    @property
    def sentence(self) -> str:
        """With the setting that names the file."""
        return f"PRODUCTS_FILE: {self}"


def load_products(path: Path) -> Mapping[str, Account]:
    """The products in `path`, in the order in which they stand there.

    Raises `CatalogueError`: no such file, not TOML, not a table a product, a field that is misspelt, missing or
    wrong. A catalogue entry has no `name`: it would give every order's account the same one.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogueError(f"The catalogue cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise CatalogueError("The catalogue is not valid UTF-8.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise CatalogueError(f"The catalogue is not valid TOML: {error}.") from None
    return MappingProxyType({product: _account(product, table) for product, table in tables.items()})


def _account(product: str, table: object) -> Account:
    if not 1 <= len(product) <= MAX_ID_CHARACTERS or "\0" in product:
        raise CatalogueError("A product's id must have 1 to 128 characters.")
    if not isinstance(table, dict):
        raise CatalogueError(f'Product "{product}" must be a table that begins with ["{product}"].')
    if "name" in table:
        raise CatalogueError(f'Product "{product}": name must be left out, since an account name belongs to one order.')
    try:
        return Account.model_validate(table)
    except ValidationError as error:
        raise CatalogueError(f'Product "{product}": {fault(error).sentence}') from None
