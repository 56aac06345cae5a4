"""The static site that `kedro viz build` makes, as it is sent to others."""

import pytest

from model_compression.reporting.palette import stage_colours

STAGES = ("teacher", "student", "pruned", "quantized")
PREVIEWED = (
    "CSVDataset",
    "JSONDataset",
    "JsonFolderDataset",
    "NormalizationDataset",
    "ImageSetDataset",
    "OnnxModelDataset",
    "CheckpointDataset",
)

# Kedro-Viz 12.5 asks its server for this also where there is none, and shows nothing of it.
NO_SERVER = "api/metadata"


def faults(seen) -> list[str]:
    return [
        error
        for error in seen.errors
        if NO_SERVER not in error and not error.startswith("metadata fetch error:")
    ]


@pytest.fixture(scope="module")
def seen(visit, graph_address):
    """The graph in a window, which both tests look at."""
    return visit(graph_address)


def test_the_graph_shows_the_four_stages_each_in_its_colour(seen):
    for stage, colour in stage_colours(STAGES).items():
        seen.page.locator(
            f".pipeline-node--modularPipeline[data-node-fullname='{stage}']"
        ).wait_for()
        border = seen.page.locator(f"[data-node-fullname='{stage}.onnx'] .pipeline-node__bg")
        assert border.evaluate("shape => getComputedStyle(shape).stroke") == rgb(colour)
    layers = seen.page.locator(".pipeline-layer-name").all_inner_texts()
    assert layers == ["raw", "model_input", "models", "model_output", "reporting"]
    assert faults(seen) == []
    # The page looks well without the typeface that it asks Google for.
    assert all(address.startswith("https://fonts.googleapis.com/") for address in seen.outside)


def test_a_click_on_the_comparison_shows_the_table(seen):
    seen.page.locator("[data-node-fullname='comparison']").wait_for()
    seen.page.locator("[data-node-fullname='comparison']").dispatch_event("click")
    table = seen.page.locator(".pipeline-metadata table")
    table.wait_for()
    shown = table.inner_text()
    assert all(stage in shown for stage in STAGES)
    assert "accuracy" in shown
    assert faults(seen) == []


def test_every_table_plot_and_metric_of_the_run_has_a_preview(graph_api):
    data = [node for node in graph_api("main")["nodes"] if node["type"] == "data"]
    known = {node["name"]: graph_api(f"nodes/{node['id']}") for node in data}
    previewed = {
        name: told
        for name, told in known.items()
        if told.get("type", "").rsplit(".")[-1] in PREVIEWED
    }
    without = [name for name, told in previewed.items() if not told.get("preview")]
    assert without == []
    assert {"comparison", "latency", "train_images", "normalization", "runtimes"} <= set(previewed)


def test_whatever_is_kept_on_disk_has_a_layer(graph_api):
    data = [node for node in graph_api("main")["nodes"] if node["type"] == "data"]
    lost = [node for node in data if not node["layer"]]
    assert len(lost) < len(data) / 2
    assert [node["name"] for node in lost if graph_api(f"nodes/{node['id']}").get("filepath")] == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_a_tag_that_the_graph_can_be_filtered_by(stage, graph_api):
    tagged = [
        node["name"]
        for node in graph_api("main")["nodes"]
        if stage in node["tags"] and node["type"] == "task"
    ]
    assert {"train", "export", "evaluate"} <= set(tagged)


def rgb(colour: str) -> str:
    return f"rgb({int(colour[1:3], 16)}, {int(colour[3:5], 16)}, {int(colour[5:7], 16)})"
