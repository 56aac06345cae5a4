"""A real Chromium, a project in which two small runs have been made, and the pages of both."""

import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

from model_compression.tracking.database import make_whole

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: pip install --editable '.[dev]'"
)

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
STARTS_WITHIN_S = 180
APPEARS_WITHIN_MS = 120_000

# Nothing that needs a GPU, a sandbox of its own, or the network.
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Two runs in one process, which imports torch once: all four stages, then a student at another
# temperature, whose training alone says all that the comparison shows of it. The smallest networks,
# an epoch and a few images, as it is pages that are judged here. Then, in the same process, what
# `kedro viz build --include-previews` does in one of its own.
RUNS = """
from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro_viz.integrations.deployment.deployer_factory import DeployerFactory
from kedro_viz.server import load_and_populate_data

import tests.conftest  # what it does to PyTorch's exporter spares a third of each export

brief = {"model": {"name": "net"}, "training": {"epochs": 1, "schedule": {"warmup_epochs": 0.5}}}
small = {
    "data": {"train_limit": 200, "test_limit": 100},
    "teacher": brief,
    "distillation": brief,
    "generalisation": {"corrupted_images": 10, "training_images": 20},
    "reporting": {"repeats": 2},
}
warmer = small | {"distillation": brief | {"distillation": {"temperature": 8.0}}}
project = Path.cwd()
bootstrap_project(project)
for pipeline, last, parameters in (
    ("__default__", None, small),
    ("distillation", ["student.train"], warmer),
):
    with KedroSession.create(project, env="smoke", runtime_params=parameters) as session:
        session.run(pipeline_names=[pipeline], to_nodes=last)

load_and_populate_data(project, package_name="model_compression")
DeployerFactory.create_deployer("local").deploy(True)
"""


class Visit(NamedTuple):
    """A page, and what it complained of and asked others for while it was looked at."""

    page: "playwright.Page"
    errors: list[str]
    outside: list[str]


@pytest.fixture(scope="session")
def executable() -> str:
    """Chromium's."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs Chromium: apt-get install --no-install-recommends chromium")
    return found


@pytest.fixture(scope="package")
def chromium(executable, making) -> Iterator["playwright.Browser"]:
    """Of the package, as its event loop would be in the way of what other tests run.

    It is started while the project is made.
    """
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visit(chromium) -> Iterator[Callable[..., Visit]]:
    """Opens an address in a window of its own, without any network but this machine's."""
    contexts = []

    def open_page(address: str, width: int = 1400, height: int = 1000, scheme: str = "light"):
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        contexts.append(context)
        context.set_default_timeout(APPEARS_WITHIN_MS)
        seen = Visit(context.new_page(), [], [])

        def answer_for_others(route):
            seen.outside.append(route.request.url)
            route.fulfill(status=200, content_type="text/css", body="")

        context.route(re.compile(r"^https?://(?!127\.0\.0\.1[:/])"), answer_for_others)
        seen.page.on(
            "console",
            lambda said: (
                seen.errors.append(f"{said.text} ({said.location.get('url')})")
                if said.type == "error"
                else None
            ),
        )
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.goto(address)
        return seen

    yield open_page
    for context in contexts:
        context.close()


class Making:
    """A project that is made once for all workers; the first keeps the others waiting for it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder.with_suffix(".log")
        self._process: subprocess.Popen | None = None
        self._lock = FileLock(folder.with_suffix(".lock"))
        self._lock.acquire()
        if folder.with_suffix(".ready").exists():
            self._lock.release()
        else:
            self._begin()

    def _begin(self) -> None:
        (self._folder / "data").mkdir(parents=True)
        for file in ("pyproject.toml", ".telemetry"):
            shutil.copy(ROOT / file, self._folder)
        shutil.copytree(ROOT / "conf", self._folder / "conf")
        (self._folder / "src").mkdir()  # the package is installed; Kedro wants the folder
        (self._folder / "data" / "01_raw").symlink_to(ROOT / "data" / "01_raw")
        with self._log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", RUNS],
                cwd=self._folder,
                env=environment() | {"PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        # While that one imports. Where it is first all the same, this does nothing.
        make_whole(self._folder / "mlflow.db", self._folder / "mlartifacts")

    def finish(self) -> Path:
        """Waits until it is there."""
        if self._process is not None:
            if self._process.wait():
                pytest.fail(f"no project could be made:\n{self._log.read_text()[-3000:]}")
            self._folder.with_suffix(".ready").touch()
            self.leave()
        return self._folder

    def leave(self) -> None:
        """Lets others make it, if it is not there."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._lock.release()


@pytest.fixture(scope="session")
def making(executable, tmp_path_factory, worker_id) -> Iterator[Making]:
    """The project below, on its way."""
    shared = tmp_path_factory.getbasetemp()
    begun = Making((shared if worker_id == "master" else shared.parent) / "seen")
    yield begun
    begun.leave()


@pytest.fixture(scope="session")
def project(making) -> Path:
    """A project with two runs in the smoke environment, and with its graph as a static site."""
    return making.finish()


@pytest.fixture(scope="package")
def mlflow_ui(project) -> Iterator["Server"]:
    """`mlflow ui` over the project's runs, which takes a while to come up."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    store = f"--backend-store-uri=sqlite:///{project / 'mlflow.db'}"
    command = [BIN / "mlflow", "ui", store, "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    with serving(command, project, address) as server:
        yield server


@pytest.fixture(scope="package")
def mlflow_address(mlflow_ui) -> str:
    """Where `mlflow ui` answers."""
    mlflow_ui.wait("/health")
    return mlflow_ui.address


@pytest.fixture(scope="session")
def static_graph(project) -> Path:
    """What `kedro viz build --include-previews` makes of the project."""
    return project / "build"


@pytest.fixture(scope="package")
def graph_address(static_graph, mlflow_ui) -> Iterator[str]:
    """The static graph on a web server that knows nothing of it; MLflow comes up meanwhile."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_args):
            pass

    handler = functools.partial(Quiet, directory=static_graph)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def graph_api(static_graph) -> Callable[[str], dict]:
    """What the page is told, by the path below `api/`."""
    return lambda path: json.loads((static_graph / "api" / path).read_text())


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return kept | {
        "KEDRO_ENV": "smoke",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "1",
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server(NamedTuple):
    """A process that is going to serve an address."""

    address: str
    process: subprocess.Popen
    log: Path

    def wait(self, alive: str) -> None:
        """Until it answers at a path."""
        ends = time.monotonic() + STARTS_WITHIN_S
        while not answers(f"{self.address}{alive}"):
            if self.process.poll() is not None or time.monotonic() > ends:
                pytest.fail(f"the server did not come up:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.2)


@contextmanager
def serving(command: list, folder: Path, address: str) -> Iterator[Server]:
    """Runs a server, a process group of its own with its workers, until the block is left."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Server(address, process, log)
    finally:
        # Not SIGTERM: on a busy machine its workers took half a minute to end in peace.
        with suppress(ProcessLookupError):  # it has ended already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False
