import copy

import numpy as np
import pytest
import torch
from torch import nn

from model_compression.evaluation import paired_interval
from model_compression.models import ModelSettings, build_model
from model_compression.quantization import QatSettings, calibrate, convert, prepare_qat
from model_compression.quantization.guard import (
    Drop,
    Guard,
    bits_of,
    holds,
    in_floats,
    paired_drop,
    return_layers,
)
from model_compression.quantization.qat import QatModel, regrid

SHAPE = (1, 12, 12)
IMAGES = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name="net").spec(SHAPE, 4)).eval()


def quantized(settings: QatSettings) -> QatModel:
    model = prepare_qat(network(), SHAPE, settings)
    calibrate(model, [IMAGES])
    return model.eval()


def difference(model: nn.Module) -> float:
    with torch.no_grad():
        return (model(IMAGES) - network()(IMAGES)).square().mean().item()


def test_a_drop_and_its_interval_are_those_of_paired_proportions():
    before = np.array([True] * 60 + [False] * 40)
    after = before.copy()
    after[:6] = False
    after[60:62] = True
    found = paired_drop(before, after)
    assert found.drop == pytest.approx(0.04)
    # That of the report, which is of what the second gains.
    low, high = paired_interval(6, 2, 100)
    assert (found.low, found.high) == (-high, -low)
    assert found.low < 0.04 < found.high


def test_the_same_answers_are_no_drop_with_a_doubt_that_more_images_lessen():
    answers = np.array([True, False] * 50)
    few, many = (paired_drop(each, each) for each in (answers, np.tile(answers, 50)))
    assert few.drop == many.drop == 0
    assert 0 < many.high == -many.low < few.high


def test_answers_to_other_images_are_refused():
    with pytest.raises(ValueError, match="same images"):
        paired_drop(np.array([True]), np.array([True, False]))
    with pytest.raises(ValueError, match="at least 1"):
        paired_drop(np.array([], dtype=bool), np.array([], dtype=bool))


def test_a_certain_guard_looks_at_the_intervals_upper_end():
    found = Drop(0.004, 0.001, 0.007)
    assert holds(found, Guard(max_accuracy_drop=0.005))
    assert not holds(found, Guard(max_accuracy_drop=0.005, certain=True))


def test_a_layer_in_floats_is_in_floats_for_a_while_only():
    model = quantized(QatSettings(weight_bits=2))
    before = difference(model)
    with in_floats(model, "linear1"):
        assert difference(model) != before
    assert difference(model) == before


def returned_until(limit: float, settings: QatSettings):
    model = quantized(settings)

    def drop(candidate: QatModel) -> Drop:
        lost = difference(candidate)
        return Drop(lost, lost, lost)

    return model, list(
        return_layers(
            model,
            settings,
            Guard(max_accuracy_drop=limit),
            lambda wanted: regrid(model, network(), SHAPE, wanted),
            difference,
            drop,
        )
    )


def test_layers_are_returned_until_the_guard_holds_and_no_longer():
    settings = QatSettings(weight_bits=2)
    model, all_steps = returned_until(0.0, settings)
    halfway = all_steps[2].found.drop
    assert halfway < difference(model)
    _, steps = returned_until(halfway, settings)
    assert steps[-1].found.drop <= halfway
    assert all(step.found.drop > halfway for step in steps[:-1])
    assert [step.returned.layer for step in steps] == [
        step.returned.layer for step in all_steps[: len(steps)]
    ]


def test_all_layers_become_bytes_and_then_floats_where_nothing_less_is_enough():
    _, steps = returned_until(0.0, QatSettings(weight_bits=4, bits={"conv1": 8}))
    layers = {"conv1", "conv2", "linear1", "linear2", "classifier"}
    bytes_first = [step.returned for step in steps if step.returned.bits == 7]
    floats = [step.returned for step in steps if step.returned.bits == 32]
    assert {each.layer for each in bytes_first} == layers - {"conv1"}
    assert {each.layer for each in floats} == layers
    assert [step.returned.bits for step in steps] == sorted(step.returned.bits for step in steps)
    assert bits_of(steps[-1].model) == {}
    assert steps[-1].found.drop < 1e-8
    with torch.no_grad():
        whole = convert(copy.deepcopy(steps[-1].model))(IMAGES)
    torch.testing.assert_close(whole, network()(IMAGES), rtol=1e-4, atol=1e-5)


def test_the_most_sensitive_layer_is_returned_first():
    settings = QatSettings(weight_bits=2)
    model, steps = returned_until(0.0, settings)
    alone = {}
    for layer in bits_of(model):
        with in_floats(model, layer):
            alone[layer] = difference(model)
    assert steps[0].returned.layer == min(alone, key=alone.__getitem__)


def test_what_is_not_returned_keeps_its_learned_steps_and_ranges():
    settings = QatSettings(weight_bits=3, grid_steps="learned")
    model = quantized(settings)
    with torch.no_grad():
        model.weight_quantizers()["conv2"].log_step.sub_(0.3)
    changed = regrid(model, network(), SHAPE, settings.with_bits({"conv1": 32, "linear1": 8}))
    assert bits_of(changed) == {"conv2": 3, "linear1": 7, "linear2": 3, "classifier": 3}
    assert torch.equal(
        changed.weight_quantizers()["conv2"].log_step, model.weight_quantizers()["conv2"].log_step
    )
    same = regrid(model, network(), SHAPE, settings)
    with torch.no_grad():
        assert torch.equal(same(IMAGES), model(IMAGES))
