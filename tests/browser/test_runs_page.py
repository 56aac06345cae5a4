"""The page of all runs, as a phone and a desk show it."""

import pytest

from model_compression.reporting import render_runs, run_table

TRIAL = "distillation-pruning-quantization-seed0"
OVERRIDES = (
    "distillation.distillation.method=dist,pruning.pruning.ratio=0.6,pruning.training.epochs=20"
)

CUT_OFF = """[...document.querySelectorAll(".table, .plot")].flatMap((block) => {
    const frame = block.getBoundingClientRect();
    return [...block.querySelectorAll("td, th, td span, small, .xtitle, .xtick text")]
        .filter((part) => part.getClientRects().length && !part.closest("thead"))
        .filter((part) => {
            const { left, right } = part.getBoundingClientRect();
            return left < frame.left - 1 || right > frame.right + 1;
        })
        .map((part) => part.textContent);
})"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("runs") / "runs.html"
    known = {
        "started": "2026-11-25T07:00:00+00:00",
        "environment": "smoke",
        "test_images": "images 1",
        "cpu": "Intel(R) Xeon(R) Processor @ 2.60GHz",
        "threads": "1",
        "accuracy": 0.9,
        "accuracy_low": 0.89,
        "accuracy_high": 0.91,
        "macs": 7_714_880,
        "file_bytes": 49_456,
        "packed_bytes": 37_604,
        "latency_ms_batch1": 0.5,
    }
    names = {"ablation [smoke]": ("trial", TRIAL), f"compress {OVERRIDES}": ("stage", "quantized")}
    rows = [
        {**known, "run": run, "run_id": run, "kind": kind, "stage": stage, "overrides": OVERRIDES}
        for run, (kind, stage) in names.items()
    ]
    file.write_text(render_runs(run_table(rows)), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("width", [360, 1200])
def test_no_cell_and_no_axis_of_the_runs_is_cut_off(width, visit, page):
    seen = visit(page, width=width)
    seen.page.locator(".xtitle").last.wait_for()
    assert "size, latency, MACs" in seen.page.locator("main").inner_text()
    assert seen.page.evaluate(CUT_OFF) == []
    assert seen.errors == []
    assert seen.outside == []
