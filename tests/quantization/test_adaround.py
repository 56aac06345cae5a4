import copy

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from model_compression.quantization.adaround import AdaRoundSettings, adaptive_rounding
from model_compression.quantization.capture import capture
from model_compression.quantization.layers import LayerInterpreter, layers_of

SHAPE = (2, 7, 7)
QUICK = AdaRoundSettings(steps=150, learning_rate=0.05, batch_size=64)


class Tiny(nn.Module):
    """A layer of every kind that is reconstructed in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, (3, 2), stride=2, padding=(1, 0), groups=6)
        self.grouped = nn.Conv2d(6, 4, (1, 2), dilation=2, groups=2, bias=False)
        self.line = nn.Conv1d(4, 5, 2, padding=1)
        self.tokens = nn.Linear(5, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu6(self.depthwise(self.first(x).relu()))
        x = self.line(self.grouped(x).flatten(2)).relu()
        return self.head(self.tokens(x.transpose(1, 2)).mean(1))


@pytest.fixture
def reference() -> GraphModule:
    torch.manual_seed(0)
    module = Tiny()
    with torch.no_grad():
        for layer in (module.first, module.tokens):
            layer.weight[layer.weight.abs() < layer.weight.abs().median()] = 0
    return capture(module, SHAPE)


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, *SHAPE, generator=generator) for count in (12, 8)]


def test_no_layer_is_reconstructed_worse_than_by_rounding_to_the_nearest(reference, prepared_from):
    for bits in (3, 4):
        gains = adaptive_rounding(prepared_from(reference, bits), reference, batches(), QUICK)
        assert len(gains) == 6
        assert all(gain.error <= gain.nearest_error for gain in gains)
        assert sum(gain.error < 0.95 * gain.nearest_error for gain in gains) >= 3


def test_the_errors_are_those_of_the_graphs_themselves(reference, prepared_from):
    prepared = prepared_from(reference, 4)
    nearest = copy.deepcopy(prepared)
    gains = adaptive_rounding(prepared, reference, batches(), QUICK)

    def outputs(graph: GraphModule) -> list[Tensor]:
        seen: list[Tensor] = []
        LayerInterpreter(graph, lambda _, __, y: seen.append(y)).run(torch.cat(batches()))
        return seen

    after = (torch.relu, nn.functional.relu6, lambda y: y, torch.relu, lambda y: y, lambda y: y)
    with torch.no_grad():
        expected, found, first = outputs(reference), outputs(prepared), outputs(nearest)[0]
    for function, y, y_q, gain in zip(after, expected, found, gains, strict=True):
        error = (function(y) - function(y_q)).square().mean().item()
        assert gain.error == pytest.approx(error, rel=1e-3)
    # The first layer sees the same input however the weights are rounded.
    error = (torch.relu(first) - torch.relu(expected[0])).square().mean().item()
    assert gains[0].nearest_error == pytest.approx(error, rel=1e-3)


def test_weights_end_on_the_grid_one_of_their_two_neighbours_and_zeros_stay(
    reference, prepared_from
):
    prepared = prepared_from(reference, 4)
    before = {key: layer.weight.clone() for key, layer in layers_of(prepared).items()}
    adaptive_rounding(prepared, reference, batches(), QUICK)
    moved = 0
    for key, layer in layers_of(prepared).items():
        weight, quantizer = layer.weight.detach(), layer.quantizer
        assert torch.equal(quantizer(weight), weight)
        scale = quantizer.scale.view(-1, *(1,) * (weight.ndim - 1))
        integers = weight / scale
        torch.testing.assert_close(integers, integers.round(), rtol=0, atol=1e-5)
        assert integers.round().abs().max() <= 7
        inside = (before[key] / scale).clamp(-7, 7)
        assert ((integers - inside).abs() < 1.001).all()
        assert (weight[before[key] == 0] == 0).all()
        moved += int((weight != quantizer(before[key])).sum())
    assert moved > 10


@pytest.mark.parametrize("keep_zeros", [True, False])
def test_zeros_move_only_if_they_are_not_kept(reference, keep_zeros, prepared_from):
    prepared = prepared_from(reference, 4)
    weight = prepared.get_parameter("first.weight")
    with torch.no_grad():
        weight[weight > 0] = 0  # the float layer has all of these, so moving up would help
    zeros = weight == 0
    settings = QUICK.model_copy(update={"keep_zeros": keep_zeros})
    adaptive_rounding(prepared, reference, batches(), settings)
    assert (weight[zeros] == 0).all() == keep_zeros


def test_the_seed_decides_and_torchs_own_random_state_does_not(reference, prepared_from):
    quick = QUICK.model_copy(update={"positions": 100, "steps": 40})

    def weights(seed: int) -> list[Tensor]:
        prepared = prepared_from(reference, 3)
        adaptive_rounding(prepared, reference, batches(), quick, seed)
        return [layer.weight.detach() for layer in layers_of(prepared).values()]

    torch.manual_seed(1)
    first = weights(0)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    again, other = weights(0), weights(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_reference_the_biases_and_the_modes_stay(reference, prepared_from):
    prepared = prepared_from(reference, 4)
    prepared.training = True
    before = copy.deepcopy(reference.state_dict())
    biases = {n: v.clone() for n, v in prepared.named_parameters() if n.endswith("bias")}
    adaptive_rounding(prepared, reference, batches(), QUICK)
    assert prepared.training
    assert all(torch.equal(value, before[name]) for name, value in reference.state_dict().items())
    assert all(torch.equal(prepared.get_parameter(name), biases[name]) for name in biases)
    assert all(parameter.requires_grad for parameter in prepared.parameters())


@pytest.mark.parametrize("wrong", [{"beta": (2, 20)}, {"steps": 0}, {"warm_start": 1.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AdaRoundSettings(**wrong)


def test_no_images_are_refused(reference, prepared_from):
    with pytest.raises(ValueError, match="at least one batch"):
        adaptive_rounding(prepared_from(reference, 4), reference, [], QUICK)
