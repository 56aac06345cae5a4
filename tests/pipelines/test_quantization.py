"""The quantized stage: every method to a file, the guard, and bits by sensitivity."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from model_compression.deployment import OnnxRuntimeClassifier
from model_compression.distillation import AnswerShelf
from model_compression.evaluation import predict_logits
from model_compression.models import Checkpoint, ModelSettings, build_model
from model_compression.pipelines.quantization.nodes import keep_accuracy, train_quantized
from model_compression.pipelines.quantization.parameters import QuantizationParameters
from model_compression.pipelines.quantization_sensitivity.nodes import (
    _fewest,
    assign_bits,
    bits_for,
    draw,
    mean_bits,
    scan,
)
from model_compression.pipelines.quantization_sensitivity.parameters import (
    BitSensitivityParameters,
)
from model_compression.pipelines.stage import nodes
from model_compression.pipelines.stage.nodes import evaluate, export, load_module
from model_compression.training import (
    CrossEntropy,
    Trainee,
    TrainingSettings,
    fit,
    read_training_state,
    write_training_state,
)

CONF = Path(__file__).parents[2] / "conf"
TRAINING = {
    "epochs": 3,
    "batch_size": 16,
    "optimizer": {"name": "sgd", "learning_rate": 0.05},
    "augmentation": None,
    "precision": "float32",
}


def parameters(learning_rate: float = 0.001, **quantization: object) -> QuantizationParameters:
    training = {
        **TRAINING,
        "epochs": 1,
        "optimizer": {"name": "sgd", "learning_rate": learning_rate},
    }
    return QuantizationParameters.model_validate(
        {
            "quantization": quantization,
            "distillation": {"method": "none"},
            "training": training,
        }
    )


@pytest.fixture
def pruned(tiny_images, tiny_normalization) -> Checkpoint:
    """A small network that has learned the tiny images."""
    spec = ModelSettings(name="net").spec((1, 12, 12), 3)
    start = Checkpoint(spec, {}, "pruned", "p1", tiny_images.classes, tiny_normalization)

    def prepare() -> Trainee:
        torch.manual_seed(0)
        return Trainee(build_model(spec), CrossEntropy())

    for state in fit(
        prepare, start, tiny_images, tiny_images, TrainingSettings.model_validate(TRAINING)
    ):
        last = state
    return last.best


@pytest.fixture
def stage(pruned, tiny_images, tmp_path):
    """Trains and guards; the state goes through its file, as it does in a run."""

    def run(settings: QuantizationParameters, resume=None):
        for state, _ in train_quantized(
            tiny_images,
            tiny_images,
            pruned.normalization,
            replace(pruned, stage="teacher"),
            pruned,
            {},
            AnswerShelf(tmp_path / "answers"),
            settings,
            resume,
        ):
            last = state
        write_training_state(last, tmp_path / "state.safetensors")
        stored = read_training_state(tmp_path / "state.safetensors")
        return stored, *keep_accuracy(tiny_images, tiny_images, pruned, stored, settings)

    return run


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "qat", "weight_bits": 4, "grid_steps": "learned", "end_bits": 8},
        {"method": "qat", "weight_bits": 2, "grid_steps": "codebook", "sharing": "tensor"},
        {"method": "static", "equalise": True, "activation_range": {"method": "entropy"}},
        {"method": "static", "weight_bits": 3, "rounding": {"steps": 20}, "reduce_range": True},
        {"method": "static", "bits": {"conv1": 32, "linear1": 4}},
        {"method": "weight_only", "weight_bits": 4},
        {"method": "dynamic", "weight_bits": 4, "end_bits": 8, "rounding": {"steps": 20}},
        {"method": "dynamic", "bits": {"conv2": 32, "linear2": 32}, "equalise": True},
    ],
)
def test_the_file_of_every_method_answers_as_its_network_does(stage, tiny_images, settings):
    state, checkpoint, precision = stage(parameters(**settings))
    model = export(checkpoint)
    answers = OnnxRuntimeClassifier(model).logits(tiny_images.images)
    expected = predict_logits(load_module(checkpoint), tiny_images, checkpoint.normalization)
    # One step of an activation may differ where a sum lies between two; the answers may not.
    assert np.mean(answers.argmax(1) == expected.argmax(1)) >= 0.99
    assert np.abs(answers - expected).max() < 0.2 * np.abs(expected).max()
    _, evaluation, _, _ = evaluate(checkpoint, model, tiny_images, state.history)
    assert evaluation["epochs"] == len(state.history)
    assert ("one_by_one" in evaluation) == (settings["method"] == "dynamic")
    assert precision["bits"].tolist() == precision["bits_asked"].tolist()


def test_what_was_quantized_without_training_is_reused(stage, caplog):
    settings = parameters(method="static")
    state, _, _ = stage(settings)
    with caplog.at_level("INFO"):
        again, _, _ = stage(settings, state)
    assert "reused" in caplog.text
    assert all(torch.equal(value, again.weights[name]) for name, value in state.weights.items())


def test_where_answers_depend_on_the_batch_they_are_asked_for_one_by_one_too(
    stage, tiny_images, monkeypatch
):
    # The file and the network get the same batches, whichever these are: three, the last smaller.
    monkeypatch.setattr(nodes, "JUDGED_AT_A_TIME", 40)
    state, checkpoint, _ = stage(parameters(method="dynamic"))
    model = export(checkpoint)
    predictions, evaluation, _, _ = evaluate(checkpoint, model, tiny_images, state.history)
    assert evaluation["top1_agreement"] == 1.0
    assert evaluation["max_logit_difference"] < 1e-3
    classifier = OnnxRuntimeClassifier(model)
    alone = [classifier.logits(image[None]).argmax() for image in tiny_images.images]
    assert evaluation["one_by_one"] == {
        "batch_size": 40,
        "accuracy": np.mean(alone == tiny_images.labels),
        "top1_agreement": np.mean(alone == predictions["predicted"]),
    }


@pytest.mark.parametrize("method", ["qat", "static", "dynamic"])
def test_the_guard_returns_layers_until_the_accuracy_holds(stage, method):
    settings = parameters(
        method=method, weight_bits=2, guard={"max_accuracy_drop": 0.02, "certain": False}
    )
    _, checkpoint, precision = stage(settings)
    guard = checkpoint.details["guard"]
    assert guard["drop_before"]["drop"] > 0.02
    assert guard["drop"]["drop"] <= 0.02
    returned = precision[precision["returned_as"] > 0]
    assert len(guard["returned"]) >= 1
    assert guard["source_kept"] or set(returned["layer"]) == {
        step["layer"] for step in guard["returned"]
    }
    # What was not trained has nothing to lose that more bits can't give back.
    assert not (guard["source_kept"] and method != "qat")
    assert returned["loss_without"].notna().all()
    assert precision[precision["returned_as"] == 0]["loss_without"].isna().all()
    export(checkpoint)


def test_where_training_has_cost_more_than_is_allowed_the_source_is_kept(
    stage, pruned, tiny_images
):
    # So large a learning rate destroys the network, in any precision.
    settings = parameters(
        learning_rate=3.0, method="qat", weight_bits=2, guard={"max_accuracy_drop": 0.0}
    )
    _, checkpoint, precision = stage(settings)
    assert checkpoint.details["guard"]["source_kept"]
    assert set(precision["bits"]) == {32}
    answers = OnnxRuntimeClassifier(export(checkpoint)).logits(tiny_images.images)
    expected = predict_logits(pruned.build(), tiny_images, pruned.normalization)
    np.testing.assert_allclose(answers, expected, rtol=1e-3, atol=1e-3)


def test_bits_are_assigned_by_sensitivity_and_the_stage_takes_them(stage, pruned, tiny_images):
    wanted = BitSensitivityParameters(bits=[8, 4, 2], mean_bits=4.0, images=60)
    table = scan(tiny_images, pruned, wanted)
    allocation, comparison = assign_bits(tiny_images, pruned, table, wanted)
    bits = allocation["quantization"]["quantization"]["bits"]
    rows = comparison.set_index("bits")
    assert rows.loc["assigned", "mean_bits"] <= 4.0
    assert rows.loc["assigned", "loss"] <= rows.loc["equal", "loss"] * 1.05
    assert len(set(bits.values())) > 1
    read = yaml.safe_load(yaml.safe_dump(allocation))["quantization"]["quantization"]
    _, _, precision = stage(parameters(method="static", **read))
    reduced = {layer: min(count, 7) for layer, count in bits.items()}
    assert dict(zip(precision["layer"], precision["bits"], strict=True)) == reduced
    assert len(draw(table).data[0].y) == len(bits)


def test_the_fewest_bits_that_lose_little_enough_are_found(pruned, tiny_images):
    limit = 0.05
    wanted = BitSensitivityParameters(
        bits=[8, 4, 2], mean_bits=None, max_accuracy_drop=limit, images=60
    )
    table = scan(tiny_images, pruned, wanted)
    allocation, comparison = assign_bits(tiny_images, pruned, table, wanted)
    accuracy = comparison.set_index("bits")["accuracy"]
    assert accuracy["float"] - accuracy["assigned"] <= limit
    assert min(allocation["quantization"]["quantization"]["bits"].values()) < 8


@pytest.mark.parametrize("target", [{"mean_bits": 4.0}, {"max_accuracy_drop": 0.0}])
def test_a_table_of_another_network_is_refused(pruned, tiny_images, target):
    wanted = BitSensitivityParameters(**{"bits": [8, 2], "mean_bits": None, "images": 60} | target)
    table = scan(tiny_images, pruned, wanted)
    with pytest.raises(ValueError, match=f"of {pruned.fingerprint}, the .* is retrained: run"):
        assign_bits(tiny_images, replace(pruned, fingerprint="retrained"), table, wanted)


def bearing() -> pd.DataFrame:
    """Layers of 100 weights, of which the second bears much less."""
    return pd.DataFrame(
        [
            (layer, bits, 100, cost * (8 - bits))
            for layer, cost in (("a", 0.01), ("b", 1.0))
            for bits in (8, 4, 2)
        ],
        columns=["layer", "bits", "weights", "loss_increase"],
    )


@pytest.mark.parametrize("limit", [0.0, 0.013, 0.02, 0.031, 0.06])
def test_one_step_fewer_than_the_fewest_would_lose_too_much(limit):
    table, weights = bearing(), {"a": 100, "b": 100}

    def drop(bits: dict[str, int]) -> float:
        return 0.01 * (8 - mean_bits(bits, weights))

    found = _fewest(table, [8, 4, 2], drop, limit)
    means = np.arange(8, 1.9, -0.125)
    last = max(place for place, mean in enumerate(means) if bits_for(table, mean) == found)
    assert drop(found) <= limit
    assert last == len(means) - 1 or drop(bits_for(table, means[last + 1])) > limit


def test_a_limit_that_no_bits_meet_is_refused_with_what_they_lose():
    with pytest.raises(ValueError, match=r"With 8 bits .* 3\.00 .*, 1\.00 are allowed: raise"):
        _fewest(bearing(), [8, 4, 2], lambda _: 0.03, 0.01)


def test_layers_that_bear_less_keep_more_bits():
    table = bearing()
    bits = bits_for(table, 5.0)
    assert bits == {"a": 2, "b": 8}
    assert mean_bits(bits, {"a": 100, "b": 100}) == 5.0
    assert bits_for(table, 8.0) == {"a": 8, "b": 8}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"bits": [2, 8]}, "descend"),
        ({"mean_bits": None}, "one target"),
        ({"bits": [8, 4], "mean_bits": 3.0}, "mean_bits"),
    ],
)
def test_an_impossible_target_is_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        BitSensitivityParameters(**{"bits": [8, 4, 2], **wrong})


def test_the_example_of_four_bits_is_what_the_stage_takes():
    group = yaml.safe_load((CONF / "base" / "parameters_quantization.yml").read_text())
    example = yaml.safe_load((CONF / "four_bits" / "parameters.yml").read_text())
    merged = {**group["quantization"], **example["quantization"]}
    settings = QuantizationParameters.model_validate(merged).quantization
    assert (settings.method, settings.weight_bits) == ("static", 4)
    assert settings.rounding.steps == 1000
    assert settings.guard.max_accuracy_drop == 0.005


def test_the_small_environment_is_what_the_stages_take():
    base = OmegaConf.load(CONF / "base" / "parameters_quantization.yml")
    merged = OmegaConf.merge(base, OmegaConf.load(CONF / "small" / "parameters.yml"))
    settings = QuantizationParameters.model_validate(merged.quantization).quantization
    assert (settings.method, settings.weight_bits, settings.grid_steps) == ("qat", 4, "learned")
