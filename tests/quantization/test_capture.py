import copy

import pytest
import torch
from torch import nn

from model_compression.models import ModelSettings, build_model
from model_compression.quantization.capture import aten, capture, norm_owners


def trained(module: nn.Module) -> nn.Module:
    """Gives each batch norm statistics and scales that folding must not lose."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) and part.running_mean is not None:
            size = part.num_features
            part.running_mean.copy_(torch.randn(size, generator=generator))
            part.running_var.copy_(torch.rand(size, generator=generator) + 0.5)
            if part.affine:
                part.weight.data.copy_(torch.randn(size, generator=generator))
                part.bias.data.copy_(torch.randn(size, generator=generator))
    return module.eval()


def targets(graph_module) -> list[object]:
    return [node.target for node in graph_module.graph.nodes if node.op == "call_function"]


def assert_same_function(module: nn.Module, shape: tuple[int, ...]) -> list[object]:
    graph_module = capture(module, shape)
    images = torch.randn(5, *shape)
    with torch.no_grad():
        torch.testing.assert_close(graph_module(images), module(images), rtol=1e-4, atol=1e-4)
    return targets(graph_module)


class Odd(nn.Module):
    """Batch norms in every place where one may stand."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(2)
        self.conv = nn.Conv2d(2, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4, eps=1e-2, affine=False)
        self.forked = nn.Conv2d(4, 4, 1)
        self.forked_norm = nn.BatchNorm2d(4)
        self.instant = nn.BatchNorm2d(4, track_running_stats=False)
        self.linear = nn.Linear(4, 6)
        self.linear_norm = nn.BatchNorm1d(6)
        self.classifier = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu(self.norm(self.conv(self.first(x))), inplace=True)
        y = self.forked(x)
        x = self.instant(self.forked_norm(y) + y)
        x = nn.functional.relu_(self.linear_norm(self.linear(x.mean((2, 3)))))
        return self.classifier(x)


class Sequence1d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(7)
        self.conv = nn.Conv1d(7, 4, 3)
        self.conv_norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_norm(self.conv(self.norm(x.flatten(1, 2)))).amax(2)


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_1"])
def test_no_batch_norm_is_left_of_the_zoos_networks(name):
    module = trained(build_model(ModelSettings(name=name).spec((1, 8, 8), 10)))
    assert aten.batch_norm.default not in assert_same_function(module, (1, 8, 8))


def test_a_batch_norm_becomes_part_of_its_layer_or_a_depthwise_convolution():
    found = assert_same_function(trained(Odd()), (2, 6, 6))
    assert found.count(aten.batch_norm.default) == 1  # the one without running statistics
    # Two convolutions, and two for the norm of the input and that of a forked output.
    assert found.count(aten.conv2d.default) == 4
    assert found.count(aten.linear.default) == 2


def test_one_dimensional_batch_norms_fold_too():
    found = assert_same_function(trained(Sequence1d()), (7, 1, 9))
    assert aten.batch_norm.default not in found
    assert found.count(aten.conv1d.default) == 2


def test_a_weight_that_two_convolutions_share_is_not_folded_into():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(1), nn.BatchNorm2d(1)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for norm in self.norms:
                x = norm(self.conv(x))
            return x.flatten(1)

    assert_same_function(trained(Shared()), (1, 5, 5))


def test_nothing_in_the_graph_works_in_place():
    found = assert_same_function(trained(Odd()), (2, 6, 6))
    assert aten.relu.default in found
    assert aten.relu_.default not in found


def test_a_value_changed_in_place_is_seen_by_later_users():
    class Changed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x + 1
            z = y.mul(3)
            y.relu_()
            return (y * 2 + z).flatten(1)

    assert_same_function(Changed(), (1, 3, 3))


def test_a_change_through_a_view_is_refused_instead_of_computed_wrongly():
    class Hidden(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x + 1
            y[:, 0].zero_()
            return y.flatten(1)

    with pytest.raises(ValueError, match="out of place"):
        capture(Hidden(), (1, 3, 3))


def test_a_graph_captured_on_dense_images_takes_channels_last_ones():
    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(x.shape[0], -1)

    graph_module = capture(Flat(), (3, 4, 4))
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(
        graph_module(images.contiguous(memory_format=torch.channels_last)), images.flatten(1)
    )


def test_the_module_is_left_as_it_is():
    module = trained(Odd()).train()
    before = copy.deepcopy(module.state_dict())
    graph_module = capture(module, (2, 6, 6))
    with torch.no_grad():
        for parameter in graph_module.parameters():
            parameter.zero_()
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_network_that_branches_on_values_is_refused_with_the_reason():
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    with pytest.raises(ValueError, match="Branching cannot be exported"):
        capture(Branching(), (1, 2, 2))


def test_norm_owners_names_the_layer_that_takes_each_batch_norm_in():
    assert norm_owners(Odd(), (2, 6, 6)) == {
        "first": "first",
        "norm": "conv",
        "forked_norm": "forked_norm",
        "linear_norm": "linear",
    }
