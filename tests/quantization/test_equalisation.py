import pytest
import torch
from torch import Tensor, nn

from model_compression.models import ModelSettings, build_model
from model_compression.quantization.capture import capture
from model_compression.quantization.equalisation import equalise
from model_compression.quantization.formula import fake_quantize, symmetric_grid


def images(shape: tuple[int, ...], count: int = 4) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def scaled_badly(module: nn.Module) -> nn.Module:
    """Gives every output channel of every layer a size of its own, over three decades."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear):
                sizes = 10 ** (3 * torch.rand(len(part.weight), generator=generator) - 1.5)
                part.weight *= sizes.view(-1, *(1,) * (part.weight.ndim - 1))
                if part.bias is not None:
                    part.bias *= sizes
    return module.eval()


def check(module: nn.Module, shape: tuple[int, ...]) -> tuple[list[tuple[str, str]], nn.Module]:
    """Equalises ``module``; its function must not change."""
    graph_module = capture(scaled_badly(module), shape)
    with torch.no_grad():
        expected = graph_module(images(shape))
        pairs = equalise(graph_module)
        difference = (graph_module(images(shape)) - expected).abs().max()
    assert difference <= 1e-5 * expected.abs().max()
    return pairs, graph_module


def outputs_of(weight: Tensor) -> Tensor:
    return weight.abs().flatten(1).amax(1)


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, bias=False),
        nn.Flatten(),
        nn.ReLU(),
        nn.Linear(8 * 4, 5),
        nn.Linear(5, 3),
    )


def test_the_function_stays_and_the_ranges_become_equal():
    pairs, graph = check(plain(), (2, 8, 8))
    assert pairs == [("0.weight", "4.weight"), ("4.weight", "7.weight"), ("7.weight", "8.weight")]
    weights = [graph.get_parameter(f"{name}.weight") for name in (0, 4, 7, 8)]
    inputs = [
        weights[1].abs().amax((0, 2, 3)),
        weights[2].view(5, 8, 4).abs().amax((0, 2)),
        weights[3].abs().amax(0),
    ]
    for before, after in zip(weights, inputs, strict=False):
        torch.testing.assert_close(outputs_of(before), after, rtol=1e-3, atol=0)


def test_one_step_for_a_tensor_rounds_better_afterwards():
    module = scaled_badly(plain())

    def error(is_equalised: bool) -> float:
        graph = capture(module, (2, 8, 8))
        with torch.no_grad():
            expected = graph(images((2, 8, 8), 16))
            if is_equalised:
                equalise(graph)
            for parameter in graph.parameters():
                if parameter.ndim > 1:
                    parameter.copy_(fake_quantize(parameter, symmetric_grid(parameter, 8)))
            return ((graph(images((2, 8, 8), 16)) - expected).norm() / expected.norm()).item()

    assert error(True) < 0.5 * error(False)


def test_depthwise_triplets_and_groups_become_equal():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.LeakyReLU(0.1),
        nn.Conv2d(8, 12, 1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 3),
    )
    pairs, graph = check(module, (2, 6, 6))
    assert len(pairs) == 3
    first, depthwise, grouped = (graph.get_parameter(f"{name}.weight") for name in (0, 2, 4))
    torch.testing.assert_close(outputs_of(first), outputs_of(depthwise), rtol=1e-3, atol=0)
    columns = torch.cat([half.abs().amax((0, 2, 3)) for half in grouped.chunk(2)])
    torch.testing.assert_close(outputs_of(depthwise), columns, rtol=1e-3, atol=0)


class Sequence1d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 4, 3)
        self.second = nn.Linear(4, 5)
        self.third = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x.flatten(2)).mean(2)).relu())


def test_a_mean_over_positions_lets_a_factor_through():
    pairs, _ = check(Sequence1d(), (3, 2, 5))
    assert pairs == [("first.weight", "second.weight"), ("second.weight", "third.weight")]


@pytest.mark.parametrize("activation", [nn.ReLU6(), nn.Hardtanh(), nn.GELU()])
def test_what_clips_or_bends_is_left_alone(activation):
    module = nn.Sequential(nn.Conv2d(1, 3, 1), activation, nn.Conv2d(3, 2, 1), nn.Flatten())
    pairs, graph = check(module, (1, 3, 3))
    assert pairs == []
    assert torch.equal(graph.get_parameter("0.weight"), module[0].weight)


class Transposed(nn.Module):
    """Flattens the positions before the channels, and shares a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 1)
        self.second = nn.Linear(4, 4)
        self.shared = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).flatten(2).transpose(1, 2))
        return self.shared(self.shared(x).relu()).flatten(1)


def test_changed_axes_and_shared_weights_are_left_alone():
    assert check(Transposed(), (1, 3, 3))[0] == []


class AcrossChannels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 1)
        self.second = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).mean(1).relu().mean(1))


def test_a_mean_over_channels_is_left_alone():
    assert check(AcrossChannels(), (1, 4, 4))[0] == []


@pytest.mark.parametrize(("name", "count"), [("net", 4), ("resnet8", 3)])
def test_in_the_zoos_networks_pairs_end_at_residual_sums(name, count):
    torch.manual_seed(0)
    pairs, _ = check(build_model(ModelSettings(name=name).spec((1, 12, 12), 4)), (1, 12, 12))
    assert len(pairs) == count


def test_channels_without_weights_and_zeros_stay():
    module = plain()
    with torch.no_grad():
        module[0].weight[1] = 0
        module[4].weight[:, 2] = 0
        module[4].weight[module[4].weight.abs() < 0.05] = 0
    pairs, graph = check(module, (2, 8, 8))
    assert torch.equal(graph.get_parameter("4.weight") == 0, module[4].weight == 0)
    assert torch.equal(graph.get_parameter("0.bias")[1:3], module[0].bias[1:3])
    assert len(pairs) == 3


def test_no_iterations_are_refused():
    with pytest.raises(ValueError, match="at least one iteration, not 0"):
        equalise(capture(plain().eval(), (2, 8, 8)), iterations=0)
