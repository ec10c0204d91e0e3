"""The three documents of a subaccount request: ids of files that Tradovate has, or the files themselves."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Discriminator, Field, Tag

from schemas.base import Id
from schemas.rules import Checked, Form

MAX_FILE_BYTES: Final = 700 * 1024
"""All three files together, before base64: with base64's third on top they still fit a record of 1 MiB."""

_FOUR: Final = "[A-Za-z0-9+/]{4}"
DATA_URI: Final = Form(
    "^data:(?:application/pdf|text/plain|image/[A-Za-z0-9.+-]+);base64,"
    f"(?:{_FOUR})*(?:{_FOUR}|[A-Za-z0-9+/]{{3}}=|[A-Za-z0-9+/]{{2}}==)$",
    "must be a data URI in base64 of a PDF, a plain text or an image (data:application/pdf;base64,...)",
)


def file_bytes(data_uri: str) -> int:
    """Size in bytes of a data URI's file, before base64."""
    encoded = len(data_uri) - data_uri.index(",") - 1
    return encoded // 4 * 3 - (2 if data_uri.endswith("==") else 1 if data_uri.endswith("=") else 0)


def _are_small(files: tuple[str, ...]) -> bool:
    return sum(map(file_bytes, files)) <= MAX_FILE_BYTES


def _are_three(documents: tuple[object, ...]) -> bool:
    return len(documents) == 3


_THREE: Final = Checked(
    holds=_are_three,
    says="must be all three documents (POA form, identity, address) or none",
    schema={"minItems": 3, "maxItems": 3},
)
_SMALL: Final = Checked(
    holds=_are_small,
    says="must be at most 700 KiB together before base64; larger files are uploaded beforehand and given by id",
    why="JSON Schema does not add sizes",
)

DataUri = Annotated[str, DATA_URI]
DocumentIds = Annotated[tuple[Id, ...], Field(strict=False, fail_fast=True), _THREE]
Files = Annotated[tuple[DataUri, ...], Field(strict=False, fail_fast=True), _THREE, _SMALL]
NoDocuments = Annotated[tuple[str, ...], Field(strict=False, max_length=0)]


def _documents_kind(value: Any) -> str:
    if not isinstance(value, list | tuple) or not value:
        return "<none>"
    return "<files>" if isinstance(value[0], str) else "<ids>"


Documents = Annotated[
    Annotated[DocumentIds, Tag("<ids>")] | Annotated[Files, Tag("<files>")] | Annotated[NoDocuments, Tag("<none>")],
    Discriminator(_documents_kind),
]
"""Three ids, or three data URIs, in the order POA form, identity, address; an empty array is none."""
