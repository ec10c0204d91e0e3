"""The Node tools, or a loud reason why they are not there."""

from __future__ import annotations

import pytest

from tests.support.lacking import lacks
from tests.support.node import NoNodeError, packages


@pytest.fixture(scope="session")
def node_reason() -> str:
    """Why the Node tools cannot run; empty when they can."""
    try:
        packages()
    except NoNodeError as error:
        return str(error)
    return ""


@pytest.fixture
def node(request: pytest.FixtureRequest, node_reason: str) -> None:
    """The Node tools are there."""
    if node_reason:
        lacks(request, f"Ajv, Modelina and the TypeScript compiler did not run: {node_reason}")
