import json

import pytest
from click.testing import CliRunner
from kedro.pipeline import Node, Pipeline

from model_compression.commands import colour_graph
from model_compression.graph_colours import GraphColours, styles, write_styles
from model_compression.pipeline_registry import register_pipelines
from model_compression.reporting.palette import stage_colours

STAGES = ("teacher", "student", "pruned", "quantized")


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(
        weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def stage(namespace: str) -> Pipeline:
    return Pipeline(
        [Node(lambda images: images, "images", "checkpoint", name="train")],
        namespace=namespace,
        inputs={"images"},
    )


def test_every_dataset_of_a_stage_has_the_stages_colour_of_the_report():
    given = styles(register_pipelines())
    for name, colour in stage_colours(STAGES).items():
        for dataset in ("checkpoint", "onnx", "history", "evaluation", "predictions"):
            assert given[f"{name}.{dataset}"]["stroke"] == colour
    assert not {"train_images", "comparison", "distillation_benchmark.trials"} & set(given)


def test_a_stage_that_is_added_gets_a_colour_of_its_own():
    given = styles({"all": stage("teacher") + stage("distant_cousin")})
    assert sorted(given) == ["distant_cousin.checkpoint", "teacher.checkpoint"]
    assert len({style["stroke"] for style in given.values()}) == 2


def test_labels_are_readable_on_their_fill_in_both_themes():
    for name, style in styles(register_pipelines()).items():
        for theme in ("light", "dark"):
            look = style["themes"][theme]
            assert contrast(look["fill"], look["color"]) >= 4.5, (name, theme)


def test_the_file_lies_where_kedro_viz_looks_for_it(tmp_path):
    pipelines = {"teacher": stage("teacher")}
    assert write_styles(tmp_path, pipelines) == tmp_path / ".viz" / "styles.json"
    assert json.loads((tmp_path / ".viz" / "styles.json").read_text()) == styles(pipelines)


def test_a_folder_that_can_not_be_written_to_costs_no_run(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("model_compression.graph_colours.pipelines", {})
    (tmp_path / ".viz").write_text("a file where the folder belongs")
    GraphColours().before_pipeline_run({"project_path": str(tmp_path)})
    assert "no stage colours" in caplog.text


@pytest.mark.parametrize("inside", [True, False])
def test_the_command_colours_the_project_around_the_current_folder(inside, tmp_path, monkeypatch):
    if inside:
        (tmp_path / "pyproject.toml").write_text("[tool.kedro]\npackage_name = 'x'\n")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    result = CliRunner().invoke(colour_graph)
    assert (tmp_path / ".viz" / "styles.json").exists() is inside
    assert result.exit_code == (0 if inside else 1)
    if not inside:
        assert "Expected a folder in the Kedro project" in result.output
