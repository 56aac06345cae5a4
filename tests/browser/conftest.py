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
# temperature. The smallest networks and a few images, as it is pages that are judged here.
RUNS = """
from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

small = {
    "data": {"train_limit": 200, "test_limit": 100},
    "teacher": {"model": {"name": "net"}},
    "distillation": {"model": {"name": "net"}},
    "reporting": {"repeats": 2},
}
warmer = small | {"distillation": {"model": {"name": "net"}, "distillation": {"temperature": 8.0}}}
project = Path.cwd()
bootstrap_project(project)
for pipeline, parameters in (("__default__", small), ("distillation", warmer)):
    with KedroSession.create(project, env="smoke", runtime_params=parameters) as session:
        session.run(pipeline_names=[pipeline])
"""


class Visit(NamedTuple):
    """A page, and what it complained of and asked others for while it was looked at."""

    page: "playwright.Page"
    errors: list[str]
    outside: list[str]


@pytest.fixture(scope="package")
def chromium() -> Iterator["playwright.Browser"]:
    """Of the package, as its event loop would be in the way of what other tests run."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("needs Chromium: apt-get install --no-install-recommends chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
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


@pytest.fixture(scope="session")
def project(tmp_path_factory, worker_id) -> Path:
    """A project with two runs in the smoke environment, made once for all workers."""
    if shutil.which("chromium") is None:
        pytest.skip("needs Chromium: apt-get install --no-install-recommends chromium")
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    made = shared / "seen"
    with FileLock(shared / "seen.lock"):
        if not (made / "ready").exists():
            (made / "data").mkdir(parents=True)
            for file in ("pyproject.toml", ".telemetry"):
                shutil.copy(ROOT / file, made)
            shutil.copytree(ROOT / "conf", made / "conf")
            (made / "src").mkdir()  # the package is installed; Kedro wants the folder
            (made / "data" / "01_raw").symlink_to(ROOT / "data" / "01_raw")
            call([sys.executable, "-c", RUNS], made)
            (made / "ready").touch()
    return made


@pytest.fixture(scope="package")
def mlflow_address(project) -> Iterator[str]:
    """`mlflow ui` over the project's runs."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    store = f"--backend-store-uri=sqlite:///{project / 'mlflow.db'}"
    command = [BIN / "mlflow", "ui", store, "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    with serving(command, project, f"{address}/health"):
        yield address


@pytest.fixture(scope="session")
def static_graph(project) -> Path:
    """What `kedro viz build --include-previews` makes of the project."""
    site = project / "build"
    with FileLock(project / "build.lock"):
        if not (site / "index.html").exists():
            call([BIN / "kedro", "viz", "build", "--include-previews"], project)
    return site


@pytest.fixture(scope="package")
def graph_address(static_graph) -> Iterator[str]:
    """The static graph on a web server that knows nothing of it."""

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


def call(command: list, folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(
            f"{command} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def serving(command: list, folder: Path, alive: str) -> Iterator[None]:
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
        ends = time.monotonic() + STARTS_WITHIN_S
        while not answers(alive):
            if process.poll() is not None or time.monotonic() > ends:
                pytest.fail(f"the server did not come up:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield
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
