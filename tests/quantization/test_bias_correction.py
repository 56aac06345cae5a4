import copy

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from model_compression.quantization.bias_correction import correct_biases
from model_compression.quantization.capture import capture
from model_compression.quantization.layers import LayerInterpreter, layers_of

SHAPE = (1, 6, 6)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, stride=2, groups=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


@pytest.fixture
def reference() -> GraphModule:
    torch.manual_seed(0)
    return capture(Tiny(), SHAPE)


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, *SHAPE, generator=generator) + 0.5 for count in (8, 5)]


def channel_means(graph: GraphModule) -> list[Tensor]:
    """Of each layer's output over all images together."""
    means: list[Tensor] = []

    def observe(_: object, __: Tensor, y: Tensor) -> None:
        means.append(y.transpose(0, 1).flatten(1).mean(1))

    with torch.no_grad():
        LayerInterpreter(graph, observe).run(torch.cat(batches()))
    return means


def test_afterwards_every_channels_mean_is_the_float_networks(reference, prepared_from):
    prepared = prepared_from(reference, 3)
    before = channel_means(prepared)
    correct_biases(prepared, reference, batches())
    for wrong, right, expected in zip(
        before, channel_means(prepared), channel_means(reference), strict=True
    ):
        assert (wrong - expected).abs().max() > 1e-3
        torch.testing.assert_close(right, expected, rtol=1e-4, atol=1e-5)


def test_only_biases_change(reference, prepared_from):
    prepared = prepared_from(reference, 3)
    before = {name: value.clone() for name, value in prepared.named_parameters()}
    untouched = copy.deepcopy(reference.state_dict())
    correct_biases(prepared, reference, batches())
    for name, value in prepared.named_parameters():
        assert torch.equal(value, before[name]) == name.endswith("weight"), name
    assert all(
        torch.equal(value, untouched[name]) for name, value in reference.state_dict().items()
    )


def test_a_layer_without_a_bias_stays_and_the_next_one_makes_up_for_it(prepared_from):
    module = Tiny()
    module.second.bias = None
    reference = capture(module, SHAPE)
    prepared = prepared_from(reference, 3)
    names = [name for name, _ in prepared.named_parameters()]
    correct_biases(prepared, reference, batches())
    assert [name for name, _ in prepared.named_parameters()] == names
    torch.testing.assert_close(channel_means(prepared)[-1], channel_means(reference)[-1])


def test_a_bias_that_layers_share_stays(prepared_from):
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x).relu()).flatten(1)

    reference = capture(Shared(), SHAPE)
    prepared = prepared_from(reference, 3)
    correct_biases(prepared, reference, batches())
    assert torch.equal(prepared.get_parameter("conv.bias"), reference.get_parameter("conv.bias"))


def test_no_images_and_another_reference_are_refused(reference, prepared_from):
    prepared = prepared_from(reference, 3)
    with pytest.raises(ValueError, match="at least one batch"):
        correct_biases(prepared, reference, [])
    other = capture(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), SHAPE)
    with pytest.raises(ValueError, match="captured float graph"):
        correct_biases(prepared, other, batches())
    assert len(layers_of(prepared)) == 3
