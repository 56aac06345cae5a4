import copy
import logging

import pytest
import torch
from torch import nn

from model_compression.models import ModelSettings, build_model
from model_compression.quantization import (
    QatSettings,
    StaticSettings,
    WeightOnlySettings,
    convert,
    prepare_qat,
    quantize_after_training,
)
from model_compression.quantization.ranges import weight_scales

SHAPE = (1, 12, 12)
IMAGES = torch.randn(32, *SHAPE, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name="net").spec(SHAPE, 4)).eval()


def error(model: nn.Module) -> float:
    with torch.no_grad():
        return (model(IMAGES) - network()(IMAGES)).square().mean().item()


def test_8_bits_compute_nearly_the_same_and_more_bits_come_nearer():
    errors = [
        error(
            quantize_after_training(
                network(), SHAPE, StaticSettings(method="static", weight_bits=bits), [IMAGES]
            )
        )
        for bits in (2, 4, 8)
    ]
    with torch.no_grad():
        size = network()(IMAGES).square().mean().item()
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] < 1e-3 * size


def test_the_network_is_left_as_it_is():
    module = network()
    before = copy.deepcopy(module.state_dict())
    settings = StaticSettings(method="static", equalise=True, rounding={"steps": 2})
    quantize_after_training(module, SHAPE, settings, [IMAGES])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_what_was_equalised_is_said_and_that_nothing_was(caplog):
    caplog.set_level(logging.INFO)
    settings = StaticSettings(method="static", equalise=True)
    quantize_after_training(network(), SHAPE, settings, [IMAGES])
    assert [message for message in caplog.messages if message.startswith("equalised: ")]
    caplog.clear()
    alone = nn.Sequential(nn.Flatten(), nn.Linear(IMAGES[0].numel(), 3))
    quantize_after_training(alone, SHAPE, settings, [IMAGES])
    assert any("nothing was equalised" in message for message in caplog.messages)


def test_learned_rounding_and_corrected_biases_come_nearer_to_the_network():
    plain = StaticSettings(method="static", weight_bits=3, correct_biases=False)
    better = StaticSettings(method="static", weight_bits=3, rounding={"steps": 200})
    nearest, learned = (
        error(quantize_after_training(network(), SHAPE, settings, [IMAGES]))
        for settings in (plain, better)
    )
    assert learned < 0.7 * nearest


def test_steps_are_those_of_the_range_that_the_settings_name():
    settings = StaticSettings(
        method="static", weight_bits=4, weight_range={"method": "percentile", "share": 0.9}
    )
    model = quantize_after_training(network(), SHAPE, settings, [IMAGES])
    weight = network().get_parameter("linear1.weight")
    expected = weight_scales(weight, 4, settings.weight_range)
    assert torch.equal(model.weight_quantizers()["linear1"].scale, expected)


def test_weights_alone_leave_no_rounding_of_activations():
    settings = WeightOnlySettings(method="weight_only")
    model = quantize_after_training(network(), SHAPE, settings, [IMAGES])
    assert not list(model.activation_quantizers())
    with torch.no_grad():
        torch.testing.assert_close(convert(model)(IMAGES), model(IMAGES))


def test_the_converted_graph_holds_what_rounding_chose():
    settings = StaticSettings(method="static", weight_bits=4, rounding={"steps": 20})
    model = quantize_after_training(network(), SHAPE, settings, [IMAGES])
    with torch.no_grad():
        torch.testing.assert_close(convert(model)(IMAGES), model(IMAGES), rtol=1e-3, atol=1e-3)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="no"):
        quantize_after_training(network(), SHAPE, StaticSettings(method="static"), [])


@pytest.mark.parametrize("kind", ["max", "learned", "codebook"])
@pytest.mark.parametrize("sharing", ["channel", "tensor"])
def test_every_grid_ends_as_bytes_of_few_values(kind, sharing):
    settings = QatSettings(weight_bits=2, grid_steps=kind, sharing=sharing)
    model = prepare_qat(network(), SHAPE, settings)
    model(IMAGES).sum().backward()
    model.eval()
    converted = convert(model)
    weights = [value for value in converted.buffers() if value.dtype == torch.int8]
    assert len(weights) == 5
    for weight in weights:
        assert len(weight.unique()) <= (4 if kind == "codebook" else 3)
    with torch.no_grad():
        torch.testing.assert_close(converted(IMAGES), model(IMAGES), rtol=1e-3, atol=1e-2)


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="stem"):
        prepare_qat(network(), SHAPE, QatSettings(bits={"stem": 4}))


def test_layers_come_in_the_order_in_which_they_run():
    model = prepare_qat(network(), SHAPE)
    assert list(model.weight_quantizers()) == [
        "conv1",
        "conv2",
        "linear1",
        "linear2",
        "classifier",
    ]


def test_a_weight_that_two_layers_share_has_one_grid():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(144, 144)
            self.end = nn.Linear(144, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.layer(x.flatten(1)).relu()
            return self.end(self.layer(x).relu())

    torch.manual_seed(0)
    module = Twice().eval()
    model = quantize_after_training(
        module, SHAPE, StaticSettings(method="static", weight_bits=4), [IMAGES]
    )
    assert list(model.weight_quantizers()) == ["layer", "end"]
    with torch.no_grad():
        torch.testing.assert_close(convert(model)(IMAGES), model(IMAGES), rtol=1e-3, atol=1e-3)
