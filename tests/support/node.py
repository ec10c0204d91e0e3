"""The Node tools and clients of adopters (tests/node/package.json): installed once for each set of versions."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

HERE = ROOT / "tests" / "node"

_INSTALL_SECONDS = 300
"""Half a minute with a near registry; 300 packages are fetched, once."""

_RUN_SECONDS = 120
"""Ten seconds on an idle machine."""


class NoNodeError(Exception):
    """The tools cannot run here. The message says why, and its fix."""


def packages() -> Path:
    """The directory with `node_modules` of the versions that package.json names."""
    missing = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    if missing:
        raise NoNodeError(f"{' and '.join(missing)} not found (Debian: apt-get install nodejs npm)")
    manifest = (HERE / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tradovate-worker"
    home = cache / f"node-{hashlib.sha256(manifest).hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    # Several test runs may find the cache empty at once: one of them fills it.
    with (cache / "node.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            with tempfile.TemporaryDirectory(prefix="node-", dir=cache) as fresh:
                whole = Path(fresh) / "whole"
                _install(whole, manifest)
                whole.rename(home)
    return home


def _install(directory: Path, manifest: bytes) -> None:
    directory.mkdir()
    (directory / "package.json").write_bytes(manifest)
    # No script of a package is run, and no lock is written: it would name addresses.
    options = ["--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    # A machine without a network finds out within seconds.
    options += ["--fetch-retries=2", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000"]
    try:
        subprocess.run(
            ["npm", "install", *options], cwd=directory, check=True, capture_output=True, timeout=_INSTALL_SECONDS
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise NoNodeError(f"npm could not install the tools: {said[0] if said else 'no reason given'}") from None
    except subprocess.TimeoutExpired:
        raise NoNodeError(f"npm did not install the tools within {_INSTALL_SECONDS} s") from None


def furnish(workplace: Path) -> None:
    """Makes an empty directory one in which Node finds the packages."""
    (workplace / "package.json").write_bytes((HERE / "package.json").read_bytes())
    (workplace / "node_modules").symlink_to(packages() / "node_modules")


def run_script(name: str, *arguments: str, workplace: Path, stdin: str = "") -> Any:
    """What a script of tests/node prints, parsed. It runs in `workplace`, an empty directory."""
    furnish(workplace)
    shutil.copy(HERE / name, workplace)
    return json.loads(run(["node", name, *arguments], workplace, stdin))


def run(command: list[str], workplace: Path, stdin: str = "") -> str:
    """The standard output of a command that has to succeed."""
    done = subprocess.run(
        command, cwd=workplace, input=stdin, capture_output=True, text=True, timeout=_RUN_SECONDS, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
