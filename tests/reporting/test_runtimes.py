import pandas as pd
import pytest
from pydantic import ValidationError

from model_compression.deployment import OnnxRuntimeClassifier, export_onnx
from model_compression.models import ModelSettings, build_model
from model_compression.pipelines.reporting import nodes, parameters
from model_compression.pipelines.reporting.parameters import ReportingParameters
from model_compression.reporting.runtimes import runtime_table, runtimes_section
from model_compression.reporting.units import SPACE


@pytest.fixture
def table():
    """ONNX Runtime's turns get slower; the other runtime takes half, half and then double."""
    turns = {"onnxruntime": [1.0, 2.0, 4.0], "openvino": [0.5, 1.0, 8.0]}
    rows = [
        ("student", runtime, batch_size, repeat, time * batch_size)
        for batch_size in (1, 64)
        for runtime, times in turns.items()
        for repeat, time in enumerate(times)
    ]
    latency = pd.DataFrame(rows, columns=["stage", "runtime", "batch_size", "repeat", "latency_ms"])
    return runtime_table(
        latency, {("student", "onnxruntime"): 1.0, ("student", "openvino"): 0.9996}
    )


def test_medians_are_over_turns_and_ratios_are_paired_by_turn(table):
    row = table.set_index(["batch_size", "runtime"])
    assert row.loc[(1, "openvino"), "latency_ms"] == 1.0
    assert row.loc[(64, "onnxruntime"), "latency_ms"] == 128.0
    assert row.loc[(1, "openvino"), "speedup"] == 2.0  # of 2, 2 and 0.5
    assert (row.loc[(slice(None), "onnxruntime"), "speedup"] == 1).all()
    assert len(row) == 4


def test_the_section_reads_in_words(table):
    (words,) = runtimes_section(table).blocks
    rows = [[cell.text.replace(SPACE, " ") for cell in row] for row in words.rows]
    assert rows[0] == ["student", "1", "onnxruntime", "2.00 ms", "same speed", "100.0%"]
    assert rows[1][4:] == ["2.00\u00d7 faster", "99.96%"]


def test_a_table_without_runtimes_is_refused():
    with pytest.raises(ValueError, match="runtimes' latency table lacks"):
        runtime_table(pd.DataFrame({"stage": []}), {})


@pytest.fixture
def both_installed(monkeypatch):
    """OpenVINO's place taken by ONNX Runtime, so that the wiring is tested without the extra."""
    monkeypatch.setattr(parameters, "openvino_installed", lambda: True)
    monkeypatch.setitem(nodes.RUNTIMES, "openvino", OnnxRuntimeClassifier)


@pytest.fixture
def stage_file(tiny_images, tiny_normalization):
    network = build_model(ModelSettings(name="resnet8", options={"width": 2}).spec((1, 12, 12), 3))
    return export_onnx(
        network.eval(),
        input_shape=(1, 12, 12),
        normalization=tiny_normalization,
        classes=tiny_images.classes,
        stage="student",
        fingerprint="0123",
        architecture="resnet8",
    )


def test_runtimes_that_were_asked_for_are_timed_and_compared(
    both_installed, tiny_images, stage_file
):
    asked = ReportingParameters(runtimes=("onnxruntime", "openvino"), repeats=2)
    table = nodes.time_other_runtimes({"student": stage_file}, tiny_images, asked)
    assert table["runtime"].tolist() == ["onnxruntime", "openvino"] * 2
    assert (table["top1_agreement"] == 1).all()
    assert (table["latency_ms"] > 0).all()
    alone = nodes.time_other_runtimes({"student": stage_file}, tiny_images, ReportingParameters())
    assert alone.empty


def test_turns_are_held_to_the_asked_threads_and_answers_take_all_cores(
    both_installed, monkeypatch, tiny_images, stage_file
):
    calls = []

    class Watched(OnnxRuntimeClassifier):
        def __init__(self, model, threads=0):
            super().__init__(model, threads)
            self.threads = threads

        def run(self, images):
            calls.append((self.threads, len(images)))
            return super().run(images)

    monkeypatch.setitem(nodes.RUNTIMES, "openvino", Watched)
    asked = ReportingParameters(runtimes=("onnxruntime", "openvino"), repeats=2, threads=2)
    nodes.time_other_runtimes({"student": stage_file}, tiny_images, asked)
    assert calls[-1] == (0, len(tiny_images))
    assert {threads for threads, _ in calls[:-1]} == {2}


@pytest.mark.parametrize("runtimes", [(), ("openvino",), ("onnxruntime", "onnxruntime")])
def test_onnx_runtime_is_always_among_the_runtimes_and_each_is_named_once(both_installed, runtimes):
    with pytest.raises(ValidationError, match="expected onnxruntime"):
        ReportingParameters(runtimes=runtimes)


def test_a_runtime_that_is_not_installed_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(parameters, "openvino_installed", lambda: False)
    with pytest.raises(ValidationError, match=r"model-compression\[openvino\]"):
        ReportingParameters(runtimes=("onnxruntime", "openvino"))
