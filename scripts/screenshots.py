"""Takes the pictures in docs/images from the real pages: report, Kedro-Viz, MLflow.

Needs the results of a run, and Chromium from Debian's packages; see docs/how-to/screenshots.md.
"""

import functools
import json
import os
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
from typing import Any
from urllib.parse import quote

import click
import mlflow
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image
from playwright.sync_api import Page, sync_playwright

PROJECT = Path(__file__).parents[1]
IMAGES = PROJECT / "docs" / "images"
BIN = Path(sys.executable).parent
STARTS_WITHIN_S = 180
APPEARS_WITHIN_MS = 120_000
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Kedro-Viz keeps what a user has chosen here: a light page, no tour, the list of nodes folded.
GRAPH_CHOICES = """localStorage.setItem('KedroViz', JSON.stringify({
  theme: 'light', showFeatureHints: false, layer: {visible: true}, expandAllPipelines: false,
  visible: {sidebar: false, miniMap: false, graph: true},
}))"""

# MLflow remembers here that a user trains models and has put the assistant away.
MLFLOW_CHOICES = """
localStorage.setItem('mlflow.workflowType_v1', '"machine_learning"');
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
"""
STAGES = ("teacher", "student", "pruned", "quantized")
METRICS = ("accuracy", "file_bytes", "macs", "parameters")


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing of it."""

    def log_message(self, *_args: Any) -> None:
        """Drops what the other would print for each request."""


@click.command()
@click.option("--only", multiple=True, help="report, graph or mlflow; all without it.")
def main(only: tuple[str, ...]) -> None:
    """Writes docs/images/report.png, graph.png and mlflow.png."""
    executable = shutil.which("chromium")
    if executable is None:
        raise click.ClickException(
            "Chromium is missing: apt-get install --no-install-recommends chromium"
        )
    shots: dict[str, Callable[[Page], Image.Image]] = {
        "report": photograph_report,
        "graph": photograph_graph,
        "mlflow": photograph_mlflow,
    }
    unknown = set(only) - set(shots)
    if unknown:
        raise click.ClickException(f"Expected {', '.join(shots)}; got {', '.join(unknown)}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=CHROMIUM)
        for name in only or shots:
            context = browser.new_context(
                viewport={"width": 1200, "height": 1000}, color_scheme="light"
            )
            context.set_default_timeout(APPEARS_WITHIN_MS)
            picture = shots[name](context.new_page())
            picture.save(IMAGES / f"{name}.png", optimize=True)
            click.echo(f"{IMAGES / name}.png {picture.size[0]} x {picture.size[1]}")
            context.close()


def photograph_report(page: Page) -> Image.Image:
    """The report's first screen."""
    report = catalog()["report"]._filepath  # the dataset offers no public name for it
    if not Path(report).is_file():
        raise click.ClickException(f"{report} is missing: kedro run --pipeline=compress first")
    page.set_viewport_size({"width": 1100, "height": 1300})
    page.goto(Path(report).as_uri())
    page.wait_for_load_state("networkidle")
    return taken(page)


def photograph_graph(page: Page) -> Image.Image:
    """From the raw images through the closed stages to their files; the rest would be too small."""
    site = PROJECT / "build"
    if not (site / "api" / "main").is_file():
        raise click.ClickException(f"{site} is not the graph's static site: make viz-build first")
    handler = functools.partial(QuietHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.set_viewport_size({"width": 3000, "height": 2600})  # it scales the graph to the window
        page.add_init_script(GRAPH_CHOICES)
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.locator(".pipeline-node--modularPipeline").first.wait_for()
        still(page, ".pipeline-flowchart")
        boxes = page.locator(".pipeline-node").evaluate_all(
            "nodes => nodes.map(n => [n.dataset.nodeFullname, n.getBoundingClientRect().toJSON()])"
        )
        picture = taken(page, around(boxes, down_to="teacher.onnx"))
        server.shutdown()
    return picture


def photograph_mlflow(page: Page) -> Image.Image:
    """The stages of the newest run as MLflow compares them, in parallel coordinates."""
    store = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{PROJECT / 'mlflow.db'}")
    experiment, runs = newest_stages(store)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [BIN / "mlflow", "ui", f"--backend-store-uri={store}", "--host=127.0.0.1"]
    chosen, within = (quote(json.dumps(ids)) for ids in (runs, [experiment]))
    with serving([*command, f"--port={port}", "--workers=1"], f"{address}/health"):
        page.set_viewport_size({"width": 1500, "height": 860})
        page.add_init_script(MLFLOW_CHOICES)
        page.goto(f"{address}/#/compare-runs?runs={chosen}&experiments={within}")
        page.get_by_role("button", name="Clear All").click()
        choose_metrics(page)
        still(page, "body")
        return taken(page)


def choose_metrics(page: Page) -> None:
    """Ticks ``METRICS`` in MLflow's list, which can't be typed into and draws only a part of it."""
    page.get_by_role("combobox").nth(1).click(force=True)
    active = page.locator("[class*='select-item-option-active']")
    first = active.inner_text()
    while True:
        if active.inner_text() in METRICS:
            page.keyboard.press("Enter")
        page.keyboard.press("ArrowDown")
        if active.inner_text() == first:
            break
    page.keyboard.press("Escape")


def catalog() -> Any:
    """The project's datasets, of the environment that KEDRO_ENV names."""
    bootstrap_project(PROJECT)
    with KedroSession.create(PROJECT, env=os.environ.get("KEDRO_ENV")) as session:
        return session.load_context().catalog


def newest_stages(store: str) -> tuple[str, list[str]]:
    """The experiment of the newest run that has stages, and the runs of its stages in order.

    Raises:
        click.ClickException: If there is none.
    """
    client = mlflow.MlflowClient(store)
    known = [experiment.experiment_id for experiment in client.search_experiments()]
    newest_first = ["attributes.start_time DESC"]
    for run in client.search_runs(known, order_by=newest_first):
        parent = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
        stages = client.search_runs(known, parent, order_by=["attributes.start_time ASC"])
        if len(stages) >= len(STAGES):
            return str(run.info.experiment_id), [str(stage.info.run_id) for stage in stages]
    raise click.ClickException(f"{store} has no whole run: kedro run --pipeline=compress first")


def taken(page: Page, clip: Any = None) -> Image.Image:
    """What the window shows."""
    target = Path(os.environ.get("TMPDIR", "/tmp")) / f"screenshot-{os.getpid()}.png"
    try:
        page.screenshot(path=target, clip=clip, animations="disabled")
        with Image.open(target) as picture:
            return picture.convert("RGB")
    finally:
        target.unlink(missing_ok=True)


def still(page: Page, selector: str, pause_ms: int = 1500) -> None:
    """Waits until what a selector finds has looked the same for a moment."""
    before = None
    ends = time.monotonic() + APPEARS_WITHIN_MS / 1000
    while time.monotonic() < ends:
        now = page.locator(selector).first.screenshot()
        if now == before:
            return
        before = now
        page.wait_for_timeout(pause_ms)


def around(boxes: list[tuple[str, dict[str, float]]], down_to: str) -> dict[str, float]:
    """The rectangle, with a margin, of the nodes that don't lie below the named one.

    Args:
        boxes: Names and boxes of nodes in the window.
        down_to: The name of one of them.
    """
    margin = 40
    end = dict(boxes)[down_to]["bottom"] + 1
    shown = [box for _, box in boxes if box["bottom"] <= end]
    left = min(box["left"] for box in shown) - margin
    right = max(box["right"] for box in shown) + margin
    top = max(min(box["top"] for box in shown) - margin, 0)
    return {"x": left, "y": top, "width": right - left, "height": end + margin - top}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(command: list[Any], alive: str) -> Iterator[None]:
    """Runs a server, with its workers, until the block is left.

    Raises:
        click.ClickException: If it does not answer in time.
    """
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        ends = time.monotonic() + STARTS_WITHIN_S
        while not answers(alive):
            if process.poll() is not None or time.monotonic() > ends:
                raise click.ClickException(f"no answer from {' '.join(map(str, command))}")
            time.sleep(0.2)
        yield
    finally:
        with suppress(ProcessLookupError):  # it has ended already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> bool:
    """Whether somebody serves there."""
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
