import copy

import pytest
import torch
from torch import nn

from model_compression.models import ModelSettings, build_model
from model_compression.quantization.biases import round_biases
from model_compression.quantization.qat import (
    QatModel,
    calibrate,
    convert,
    freeze,
    prepare_qat,
    restore,
)
from model_compression.quantization.settings import QatSettings

SHAPE = (1, 8, 8)


def network(name: str = "resnet8", **options: object) -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name=name, options=options).spec(SHAPE, 4)).eval()


def images(count: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def train_a_step(model: nn.Module, learning_rate: float = 0.05) -> float:
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=0.9)
    loss = nn.functional.cross_entropy(model.train()(images()), torch.arange(8) % 4)
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.fixture
def model() -> QatModel:
    prepared = prepare_qat(network(), SHAPE)
    train_a_step(prepared)
    return prepared


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_at_8_bits_the_network_computes_nearly_what_it_did():
    float_network = network()
    prepared = prepare_qat(float_network, SHAPE)
    calibrate(prepared, [images(32)])
    with torch.no_grad():
        difference = (prepared.eval()(images(32)) - float_network(images(32))).abs().max()
        size = float_network(images(32)).abs().max()
    assert 0 < difference < 0.1 * size


def test_the_float_network_is_left_as_it_is():
    float_network = network().train()
    before = state(float_network)
    train_a_step(prepare_qat(float_network, SHAPE))
    assert float_network.training
    assert same(state(float_network), before)


def test_training_lowers_the_loss(model):
    losses = [train_a_step(model) for _ in range(8)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", ["net", "resnet8", "wrn_10_1"])
def test_the_converted_graph_computes_bit_for_bit_what_was_trained_but_for_biases(name):
    torch.manual_seed(0)
    float_network = build_model(ModelSettings(name=name).spec((1, 12, 12), 4))
    prepared = prepare_qat(float_network, (1, 12, 12), QatSettings(batch_norms="fold"))
    optimizer = torch.optim.SGD(prepared.parameters(), 0.05)
    batch = torch.randn(8, 1, 12, 12)
    prepared(batch).square().sum().backward()
    optimizer.step()
    prepared.eval()
    with torch.no_grad():
        trained = prepared(batch)
        converted = convert(prepared)(batch)
        round_biases(prepared.prepared)
        assert torch.equal(converted, prepared(batch))
        assert (converted - trained).abs().max() < 0.05 * trained.abs().max()


def test_converting_leaves_the_training_model_as_it_is(model):
    before = state(model)
    converted = convert(model)
    assert model.training
    assert same(state(model), before)
    assert not converted.training
    assert train_a_step(model) > 0


def test_preparing_and_converting_leave_torchs_random_state_alone(model):
    float_network = network()
    before = torch.random.get_rng_state()
    prepare_qat(float_network, SHAPE)
    convert(model)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_ranges_that_were_never_observed_are_not_converted():
    with pytest.raises(ValueError, match="calibrate"):
        convert(prepare_qat(network(), SHAPE))


def test_an_evaluation_changes_no_state(model):
    before = state(model)
    with torch.no_grad():
        first = model.eval()(10 * images())
        second = model(10 * images())
    assert same(state(model), before)
    assert torch.equal(first, second)


def test_channels_last_images_and_weights_give_the_same_logits(model):
    with torch.no_grad():
        expected = model.eval()(images())
        model.to(memory_format=torch.channels_last)
        logits = model(images().contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    "changes",
    [{}, {"weight_bits": 4, "grid_steps": "learned"}, {"weight_bits": 3, "grid_steps": "codebook"}],
)
def test_a_step_asks_the_device_for_no_value(changes):
    """Which works on PyTorch's meta device: it has shapes alone, and fails to give a value."""
    model = prepare_qat(network(), SHAPE, QatSettings.model_validate({"method": "qat"} | changes))
    model.to("meta").train()
    logits = model(images().to("meta"))
    nn.functional.cross_entropy(logits, torch.zeros(8, dtype=torch.long, device="meta")).backward()
    assert all(parameter.grad.is_meta for parameter in model.parameters())
    assert model.eval()(images().to("meta")).is_meta


def test_switches_follow_a_state_that_is_loaded():
    frozen, other = (prepare_qat(network(), SHAPE) for _ in range(2))
    frozen.freeze_ranges()
    other.load_state_dict(frozen.state_dict())
    before = [quantizer.high.clone() for quantizer in other.activation_quantizers()]
    other.train()(9 * images())
    assert [quantizer.high for quantizer in other.activation_quantizers()] == before


def test_dropout_drops_in_training_only():
    prepared = prepare_qat(network("wrn_10_1", dropout=0.5), SHAPE)
    calibrate(prepared, [images()])
    prepared.freeze_ranges()
    with torch.no_grad():
        assert not torch.equal(prepared.train()(images()), prepared(images()))
        assert torch.equal(prepared.train(False)(images()), prepared(images()))
        copied = copy.deepcopy(prepared).train()
        assert not torch.equal(copied(images()), copied(images()))
        assert not prepared.training


def test_ranges_freeze_after_the_epoch_that_the_settings_name(model):
    settings = QatSettings(freeze_ranges_after_epoch=2)

    def moves(epoch: int) -> bool:
        freeze(model, epoch, settings)
        before = [quantizer.high.item() for quantizer in model.activation_quantizers()]
        with torch.no_grad():
            model.train()((2 + epoch) * images())
        return before != [quantizer.high.item() for quantizer in model.activation_quantizers()]

    assert [moves(epoch) for epoch in (0, 1, 2, 3, 0)] == [True, True, False, False, True]
    freeze(model, 50, QatSettings(freeze_ranges_after_epoch=None))
    assert all(quantizer.observer_enabled.item() for quantizer in model.activation_quantizers())


def test_the_state_comes_back_bit_for_bit(model):
    model.freeze_ranges()
    restored = restore(network(), SHAPE, state(model))
    assert not restored.training
    assert same(state(restored), state(model))
    with torch.no_grad():
        assert torch.equal(restored(images()), model.eval()(images()))


def test_a_grid_of_few_bits_comes_back_with_the_state():
    settings = QatSettings(weight_bits=3)
    prepared = prepare_qat(network(), SHAPE, settings)
    calibrate(prepared, [images()])
    restored = restore(network(), SHAPE, state(prepared), settings)
    with torch.no_grad():
        assert torch.equal(restored(images()), prepared.eval()(images()))
    converted = convert(restored)
    weights = [buffer for buffer in converted.buffers() if buffer.dtype == torch.int8]
    assert max(int(weight.abs().max()) for weight in weights) == 3


def test_a_state_of_another_network_is_refused(model):
    with pytest.raises(ValueError, match="those of this network"):
        restore(network(width=8), SHAPE, state(model))


def test_a_float_state_is_refused():
    with pytest.raises(ValueError, match="those of this network"):
        restore(network(), SHAPE, network().state_dict())


def test_calibration_sets_ranges_and_neither_weights_nor_mode():
    prepared = prepare_qat(network(), SHAPE).eval()
    weights = {name: value.clone() for name, value in prepared.named_parameters()}
    calibrate(prepared, [images(seed=1), images(seed=2)])
    assert not prepared.training
    assert all(torch.equal(value, weights[name]) for name, value in prepared.named_parameters())
    assert all(quantizer.observations.item() >= 2 for quantizer in prepared.activation_quantizers())
    first = next(prepared.activation_quantizers())
    expected = (images(seed=1).max() + images(seed=2).max()) / 2
    assert first.high.item() == pytest.approx(expected.item())


def test_calibration_without_images_is_refused():
    with pytest.raises(ValueError, match="at least one batch"):
        calibrate(prepare_qat(network(), SHAPE), [])


def test_weights_that_were_pruned_stay_zero():
    float_network = network()
    with torch.no_grad():
        for parameter in float_network.parameters():
            if parameter.ndim == 4:
                parameter[parameter.abs() < parameter.abs().median()] = 0
    prepared = prepare_qat(float_network, SHAPE)
    zeros = {name: value == 0 for name, value in prepared.named_parameters() if value.ndim == 4}
    optimizer = torch.optim.SGD(prepared.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(prepared(images()), torch.arange(8) % 4).backward()
        optimizer.step()
    assert all(zero.any() for zero in zeros.values())
    for name, value in prepared.named_parameters():
        if name in zeros:
            assert torch.equal(value == 0, zeros[name]), name


def test_a_step_works_under_autocast():
    prepared = prepare_qat(network(), SHAPE)
    with torch.autocast("cpu", torch.bfloat16):
        loss = prepared(images()).float().square().sum()
    loss.backward()
    assert all(torch.isfinite(value.grad).all() for value in prepared.parameters())


@pytest.mark.parametrize(
    "wrong", [{"weight_bits": 9}, {"averaging": 0.0}, {"freeze_ranges_after_epoch": -1}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        QatSettings(**wrong)
