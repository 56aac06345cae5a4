from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from model_compression.models import (
    ModelError,
    ModelSettings,
    ModelSpec,
    WeightsError,
    build_model,
    build_with_weights,
)


class Mixed(nn.Module):
    """A layer of every kind whose shape is taken from its weights."""

    def __init__(
        self, channels: int, classes: int, width: int = 8, groups: int = 4, depthwise: int = 8
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.grouped = nn.Conv2d(width, width, 1, groups=groups)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=depthwise)
        self.batch_norm = nn.BatchNorm2d(width)
        self.group_norm = nn.GroupNorm(2, width)
        self.prelu = nn.PReLU(width)
        self.scale = nn.Parameter(torch.randn(width, 1, 1))
        self.frozen = nn.Parameter(torch.randn(width, 1, 1), requires_grad=False)
        self.register_buffer("shift", torch.randn(1, width, 1, 1))
        self.register_buffer("unsaved", torch.ones(1), persistent=False)
        self.layer_norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)
        self.tied = nn.Linear(width, width, bias=False)
        self.tied.weight = self.linear.weight
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.batch_norm(self.depthwise(self.grouped(self.stem(x))))
        x = self.prelu(self.group_norm(x)) * self.scale * self.frozen + self.shift * self.unsaved
        return self.classifier(self.tied(self.linear(self.layer_norm(x.mean((2, 3))))))


class Tower(nn.Module):
    """Without a parameter of its own name in the root, and with a norm that has no weight."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, 4, 2)
        self.plain_norm = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
        self.head = nn.Conv2d(4, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.plain_norm(self.up(x))).mean((2, 3))


def rebuilt_bit_by_bit(spec: ModelSpec, model: nn.Module) -> nn.Module:
    """Rebuilds from a copy of the state and asserts the same tensors, layers and outputs."""
    randomise(model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    again = build_with_weights(spec, weights)
    assert again.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in again.state_dict().items())
    assert repr(again) == repr(model)
    images = torch.randn(2, *spec.input_shape)
    assert torch.equal(again.eval()(images), model.eval()(images))
    return again


def randomise(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(0, 0.3)
        else:
            tensor.fill_(7)


@pytest.mark.parametrize(
    "name", ["net", "resnet8", "wrn_10_1", "mnasnet0_5", "mobilenet_v3_small", "squeezenet1_1"]
)
def test_an_unpruned_network_comes_back_bit_by_bit(name: str) -> None:
    spec = ModelSettings(name=name).spec((1, 32, 32), 5)
    rebuilt_bit_by_bit(spec, build_model(spec))


def test_a_narrower_resnet_is_rebuilt_from_the_wide_ones_spec() -> None:
    narrow = ModelSettings(name="resnet8", options={"width": 5}).spec((1, 16, 16), 3)
    wide = ModelSettings(name="resnet8").spec((1, 16, 16), 3)
    rebuilt_bit_by_bit(wide, build_model(narrow))


def test_channels_within_one_block_can_be_fewer() -> None:
    spec = ModelSettings(name="resnet8").spec((1, 16, 16), 3)
    model = build_model(spec)
    block = model.stages[1][0]
    block.conv1, block.norm1 = nn.Conv2d(16, 3, 3, 2, 1, bias=False), nn.BatchNorm2d(3)
    block.conv2 = nn.Conv2d(3, 32, 3, 1, 1, bias=False)
    rebuilt_bit_by_bit(spec, model)


def test_a_single_kept_channel_is_enough() -> None:
    spec = ModelSettings(name="net").spec((1, 16, 16), 3)
    model = build_model(spec)
    model.conv1, model.conv2 = nn.Conv2d(1, 1, 5, padding=2), nn.Conv2d(1, 1, 5)
    model.linear1 = nn.Linear(4, 120)
    rebuilt_bit_by_bit(spec, model)


MIXED = ModelSpec(name=f"{__name__}:Mixed", input_shape=(3, 6, 6), classes=5)


@pytest.mark.parametrize(
    ("width", "groups"), [(8, 4), (4, 2), (4, 4), (6, 3), (12, 4), (4, 1), (2, 2)]
)
def test_every_kind_of_layer_takes_its_weights_shape(width: int, groups: int) -> None:
    # (4, 2) and (6, 3) have fewer groups than the original's 4, (4, 4) has smaller ones.
    model = Mixed(3, 5, width=width, groups=groups, depthwise=width)
    again = rebuilt_bit_by_bit(MIXED, model)
    assert not again.frozen.requires_grad
    assert again.scale.requires_grad
    assert again.tied.weight is again.linear.weight


def test_a_rebuilt_network_has_memory_of_its_own() -> None:
    model = Mixed(3, 5, width=4, depthwise=4)
    again = build_with_weights(MIXED, model.state_dict())
    with torch.no_grad():
        again.stem.weight.zero_()
    assert model.stem.weight.abs().sum() > 0


def test_a_rebuilt_network_can_be_trained() -> None:
    again = build_with_weights(MIXED, Mixed(3, 5, width=4, depthwise=4).state_dict())
    assert again.training
    again(torch.randn(2, 3, 6, 6)).sum().backward()
    assert all(p.grad is not None for p in again.parameters() if p.requires_grad)


def test_layers_that_cant_be_pruned_are_left_alone() -> None:
    spec = ModelSpec(name=f"{__name__}:Tower", input_shape=(3, 6, 6), classes=5)
    rebuilt_bit_by_bit(spec, build_model(spec))


def test_rebuilding_leaves_the_random_state() -> None:
    weights = Mixed(3, 5).state_dict()
    before = torch.get_rng_state()
    build_with_weights(MIXED, weights)
    assert torch.equal(torch.get_rng_state(), before)


def without(key: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda weights: weights.__delitem__(key)


def with_tensor(key: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], None]:
    return lambda weights: weights.update({key: tensor})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("stem.weight"), r"aren't those of a '.*:Mixed'\. missing: stem\.weight\."),
        (with_tensor("foo", torch.ones(1)), "unexpected: foo"),
        (
            with_tensor("stem.weight", torch.ones(8, 3, 5, 5)),
            r"incompatible: stem.weight \(float32 \(8, 3, 5, 5\), expected float32 \(8, 3, 3, 3\)",
        ),
        (with_tensor("linear.weight", torch.ones(8)), r"linear.weight \(float32 \(8,\), expected"),
        (with_tensor("stem.bias", torch.ones(8).double()), r"stem.bias \(float64 \(8,\), expected"),
        (with_tensor("classifier.bias", torch.ones(6)), "shapes don't fit together"),
        (with_tensor("linear.bias", torch.ones(3)), "shapes don't fit together"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(
    change: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    weights = dict(Mixed(3, 5).state_dict())
    change(weights)
    with pytest.raises(WeightsError, match=message):
        build_with_weights(MIXED, weights)


def test_a_classifier_of_other_classes_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"must give logits of shape \(2, 5\)"):
        build_with_weights(MIXED, Mixed(3, 6).state_dict())


def test_a_long_list_of_faults_is_shortened() -> None:
    with pytest.raises(WeightsError, match=r"and \d+ more"):
        build_with_weights(MIXED, {})


def test_a_spec_that_cant_be_built_is_not_blamed_on_the_weights() -> None:
    spec = ModelSpec(name="net", input_shape=(1, 4, 4), classes=5)
    with pytest.raises(ModelError, match="at least 12x12") as caught:
        build_with_weights(spec, {})
    assert not isinstance(caught.value, WeightsError)
