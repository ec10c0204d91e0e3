"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """`warning` and `skipped` leave the exit code alone."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, how it stands, what was seen, and its fix."""

    check: str
    verdict: Verdict
    seen: str
    fix: str | None = None


def ok(check: str, seen: str) -> Finding:
    """It is as it should be."""
    return Finding(check, Verdict.OK, seen)


def failed(check: str, seen: str, fix: str) -> Finding:
    """The worker cannot do its work like this."""
    return Finding(check, Verdict.FAILED, seen, fix)


def warning(check: str, seen: str, fix: str) -> Finding:
    """It works, but an operator should look."""
    return Finding(check, Verdict.WARNING, seen, fix)


def skipped(check: str, why: str) -> Finding:
    """It could not be asked, because something before it failed."""
    return Finding(check, Verdict.SKIPPED, why)
