"""Which release of the program this is: shown by `--version`, metrics, traces, health and console."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["VERSION"]


def _installed() -> str:
    try:
        return version("tradovate-worker")
    except PackageNotFoundError:  # started from a source tree that was never installed
        return "unknown"


VERSION = _installed()
