"""What a mask is worth in the end: zeros in the exported files, float and int8."""

from dataclasses import replace

import pytest
import torch

from model_compression.deployment import graph_cost, packed_size
from model_compression.distillation import AnswerShelf
from model_compression.models import Checkpoint, ModelSpec, build_model
from model_compression.pipelines.quantization.nodes import train_quantized
from model_compression.pipelines.quantization.parameters import QuantizationParameters
from model_compression.pipelines.stage.nodes import export, select_best
from model_compression.pruning.masked import MaskedObjective, masked_weights
from model_compression.pruning.masks import MaskPruningSettings
from model_compression.pruning.n_m import NMPruningSettings
from model_compression.quantization import weight_quantizers
from model_compression.training import (
    CrossEntropy,
    Trainee,
    TrainingSettings,
    fit,
    read_training_state,
    write_training_state,
)

SPEC = ModelSpec(name="resnet8", options={"width": 8}, input_shape=(1, 12, 12), classes=3)
MASKS = MaskPruningSettings.model_validate(
    {"method": "weights", "sparsity": 0.8, "schedule": {"name": "cubic"}, "update_every": 2}
)
PATTERN = NMPruningSettings(method="n_m")
TRAINING = {
    "epochs": 3,
    "batch_size": 16,
    "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    "precision": "float32",
}


@pytest.fixture
def student(tiny_normalization) -> Checkpoint:
    torch.manual_seed(0)
    weights = build_model(SPEC).state_dict()
    for value in weights.values():
        if value.dtype == torch.float32 and value.ndim == 1:
            # As if trained: no two biases alike. Negative scales would fold a 0 to -0.
            value.add_(0.1 * torch.rand_like(value))
    weights["norm.weight"][::2].neg_()
    classes = ("top", "middle", "bottom")
    return Checkpoint(SPEC, weights, "student", "s1", classes, tiny_normalization)


@pytest.fixture
def pruned(student, tiny_images):
    """Fine-tunes the student under masks, and takes the last epoch's network."""

    def run(chosen: MaskPruningSettings | NMPruningSettings) -> Checkpoint:
        module = student.build()
        masked = masked_weights(module, chosen)

        def prepare() -> Trainee:
            objective = MaskedObjective(CrossEntropy(), module, chosen, total_steps=18)
            return Trainee(
                module,
                objective,
                after_step=objective.hold,
                after_average=objective.hold_average,
                ready_from=2,
            )

        settings = TrainingSettings.model_validate(TRAINING)
        start = replace(student, stage="pruned", weights={}, details={"masked": masked})
        return select_best([*fit(prepare, start, tiny_images, tiny_images, settings)][-1])

    return run


@pytest.fixture
def quantize(student, tiny_images, tiny_normalization, tmp_path):
    def run(source: Checkpoint, resume=None, **changed: object) -> list:
        parameters = QuantizationParameters.model_validate(
            {
                "quantization": {"method": "qat"},
                "distillation": {"method": "none"},
                "training": TRAINING | changed,
            }
        )
        stream = train_quantized(
            tiny_images,
            tiny_images,
            tiny_normalization,
            student,
            source,
            {},
            AnswerShelf(tmp_path),
            parameters,
            resume,
        )
        return [state for state, _ in stream]

    return run


def dropped(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return {name: checkpoint.weights[name] == 0 for name in checkpoint.details["masked"]}


@pytest.mark.parametrize("chosen", [MASKS, PATTERN], ids=["weights", "n_m"])
def test_masked_weights_are_zero_in_the_file_which_packs_smaller(student, pruned, chosen):
    checkpoint = pruned(chosen)
    zeros = sum(int(zero.sum()) for zero in dropped(checkpoint).values())
    dense, sparse = export(student), export(checkpoint)
    assert zeros > 0
    assert graph_cost(sparse).parameters == graph_cost(dense).parameters
    assert graph_cost(sparse).nonzero_parameters <= graph_cost(dense).parameters - zeros
    assert packed_size(sparse.content) < (0.5 if chosen is MASKS else 0.8) * packed_size(
        dense.content
    )


@pytest.mark.parametrize("changed", [{}, {"ema_decay": 0.9}], ids=["plain", "averaged"])
@pytest.mark.parametrize(
    "optimizer",
    [TRAINING["optimizer"], {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}],
    ids=["sgd", "adamw"],
)
def test_exactly_the_masked_weights_stay_zero_through_quantization_aware_training(
    pruned, quantize, optimizer, changed
):
    source = pruned(MASKS)
    for state in quantize(source, optimizer=optimizer, **changed):
        tensors = [state.weights, state.best.weights, *([state.averaged] if changed else [])]
        for weights in tensors:
            for name, zero in dropped(source).items():
                weight = weights[f"prepared.{name}"]
                assert torch.equal(weight == 0, zero), name
                assert not torch.signbit(weight[zero]).any()
        assert state.best.details["masked"] == source.details["masked"]


def test_masked_weights_stay_zero_though_gradients_reach_them(pruned, quantize, monkeypatch):
    def pass_all(ctx, gradient):
        return gradient, None

    # Fake quantizers give a weight of 0 no gradient, but a layer may be without one.
    monkeypatch.setattr(weight_quantizers._PassGradient, "backward", staticmethod(pass_all))
    source = pruned(MASKS)
    for state in quantize(source, ema_decay=0.9):
        for weights in (state.weights, state.averaged, state.best.weights):
            for name, zero in dropped(source).items():
                assert not weights[f"prepared.{name}"][zero].any()
    free = quantize(replace(source, details={}))[-1].weights
    assert any(free[f"prepared.{name}"][zero].any() for name, zero in dropped(source).items())


def test_what_was_never_masked_is_not_said_to_be(student, quantize):
    assert "masked" not in quantize(student)[-1].best.details


def test_the_integers_of_masked_weights_are_zero_in_the_file_which_packs_smaller(
    student, pruned, quantize
):
    source = pruned(MASKS)
    zeros = sum(int(zero.sum()) for zero in dropped(source).values())
    sparse = export(quantize(source)[-1].best)
    dense = export(quantize(student)[-1].best)
    assert graph_cost(sparse).parameters == graph_cost(dense).parameters
    assert graph_cost(sparse).nonzero_parameters <= graph_cost(dense).parameters - zeros
    assert packed_size(sparse.content) < 0.9 * packed_size(dense.content)


def test_a_resumed_quantization_of_a_masked_network_is_bit_identical(pruned, quantize, tmp_path):
    source = pruned(MASKS)
    whole = quantize(source, ema_decay=0.9)
    path = tmp_path / "state.safetensors"
    write_training_state(whole[0], path)
    resumed = quantize(source, read_training_state(path), ema_decay=0.9)
    assert len(resumed) == 2
    for part in ("weights", "averaged"):
        first, second = getattr(resumed[-1], part), getattr(whole[-1], part)
        assert all(torch.equal(first[name], second[name]) for name in first)
