import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_compression.models import ModelSettings, build_model
from model_compression.pruning.dependencies import channel_groups
from model_compression.pruning.groups import ChannelGroup
from model_compression.pruning.removal import remove_channels

SHAPE = (3, 32, 32)


class Small(nn.Module):
    """A first convolution of 8 channels, something, and the mean that is classified."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(channels, 5)

    def middle(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.first(x).relu()).mean((2, 3)))


class Residual(Small):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(8, 12, 3, padding=1)
        self.outer = nn.Conv2d(12, 8, 3, padding=1)

    def middle(self, x: Tensor) -> Tensor:
        return x + self.outer(self.inner(x).relu())


class Concatenated(Small):
    def __init__(self) -> None:
        super().__init__(20)
        self.branch = nn.Conv2d(8, 12, 1)
        self.norm = nn.BatchNorm2d(20)

    def middle(self, x: Tensor) -> Tensor:
        return self.norm(torch.cat([self.branch(x), x], 1))


class Shuffled(Small):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(8, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return self.mix(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


class Halved(Small):
    """A gated linear unit: one half of the channels is multiplied by the other."""

    def __init__(self) -> None:
        super().__init__(4)

    def middle(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=1)
        return value * gate.sigmoid()


class Gated(Small):
    """Squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Flattened(Small):
    def __init__(self) -> None:
        super().__init__(8 * 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.adaptive_avg_pool2d(self.first(x), 4).flatten(1))


class Grouped(Small):
    def __init__(self) -> None:
        super().__init__(16)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=4)

    def middle(self, x: Tensor) -> Tensor:
        return self.grouped(x)


class GroupNormed(Small):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, 8)

    def middle(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Upsampled(Small):
    def __init__(self) -> None:
        super().__init__(6)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)

    def middle(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.up(x), scale_factor=0.5)


class Scaled(Small):
    """A scale a channel, a bias a position and channel, a class token: all of them parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.position = nn.Parameter(torch.rand(1, 17, 8))
        self.token = nn.Parameter(torch.rand(1, 1, 8))
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(self.first(x) * self.scale, 4)
        x = torch.cat([self.token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)
        return self.head(self.norm(x + self.position)[:, 0])


class Shared(Small):
    """One convolution, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(8, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        return self.again(self.again(x).relu())


class WeightNormed(Small):
    """A weight that is computed at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def middle(self, x: Tensor) -> Tensor:
        weight = self.conv.weight - self.conv.weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(x, weight, self.conv.bias, padding=1)


class PaddedShortcut(Small):
    """Option A of ResNet: zeros stand in for the new channels."""

    def __init__(self) -> None:
        super().__init__(12)
        self.wide = nn.Conv2d(8, 12, 3, padding=1)

    def middle(self, x: Tensor) -> Tensor:
        return self.wide(x) + functional.pad(x, (0, 0, 0, 0, 2, 2))


class WrittenDown(Small):
    """Its width stands in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(8, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        return self.inner(x).view(-1, 8, 32, 32)


class Sorted(Small):
    """An operator that nothing is known of."""

    def middle(self, x: Tensor) -> Tensor:
        return x.sort(dim=1).values


def described(module: nn.Module) -> dict[str, tuple[int, int]]:
    torch.manual_seed(0)
    groups = channel_groups(module, SHAPE)
    return {group.name: (group.units, group.width) for group in groups}


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Residual, {"first": (8, 1), "inner": (12, 1)}),
        (Concatenated, {"first": (8, 1), "branch": (12, 1)}),
        (Shuffled, {"first": (4, 2), "mix": (8, 1)}),
        (Halved, {"first": (4, 2)}),
        (Gated, {"first": (8, 1), "down": (4, 1)}),
        (Flattened, {"first": (8, 1)}),
        (Grouped, {"first": (4, 2)}),
        (GroupNormed, {"first": (4, 2)}),
        (Upsampled, {"first": (8, 1), "up": (6, 1)}),
        (Scaled, {"first": (8, 1)}),
        (Shared, {"first": (8, 1)}),
        (WeightNormed, {"first": (8, 1), "conv": (8, 1)}),
        (PaddedShortcut, {}),
        (WrittenDown, {"first": (8, 1), "inner": (8, 1)}),
        (Sorted, {}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_channels_that_depend_on_each_other_are_one_unit(network, expected):
    assert described(network()) == expected


@pytest.mark.parametrize(
    "network",
    [
        Residual, Concatenated, Shuffled, Halved, Gated, Flattened, Grouped, Upsampled, Shared,
    ],
)  # fmt: skip
def test_a_unit_that_nobody_reads_goes_without_a_trace(network):
    torch.manual_seed(0)
    removing_unread_units_changes_nothing(network().eval(), SHAPE)


@pytest.mark.parametrize(
    "name",
    ["net", "resnet20", "densenet121", "shufflenet_v2_x0_5", "mobilenet_v3_small", "googlenet",
     "regnet_y_400mf", "squeezenet1_0", "efficientnet_b0", "mnasnet0_5"],
)  # fmt: skip
def test_a_unit_that_nobody_reads_goes_without_a_trace_from_any_network(name):
    shape = (1, 28, 28) if name == "net" else (3, 64, 64)
    torch.manual_seed(0)
    module = build_model(ModelSettings(name=name).spec(shape, 5)).eval()
    removing_unread_units_changes_nothing(module, shape)


def removing_unread_units_changes_nothing(module: nn.Module, shape: tuple[int, int, int]) -> None:
    groups = channel_groups(module, shape)
    gone = {group.name: torch.arange(group.units) % 3 == 1 for group in groups if group.takes}
    with torch.no_grad():
        for group in groups:
            if group.name in gone:
                stop_reading(module, group, gone[group.name])
        images = torch.randn(2, *shape)
        kept = {name: ~mask for name, mask in gone.items()}
        pruned = remove_channels(module, shape, groups, kept)
        torch.testing.assert_close(pruned(images), module(images), rtol=1e-3, atol=1e-4)
    before, after = (sum(p.numel() for p in each.parameters()) for each in (module, pruned))
    assert after < 0.9 * before


def stop_reading(module: nn.Module, group: ChannelGroup, units: Tensor) -> None:
    weights = module.state_dict()
    for members in group.takes:
        weights[members.tensor].index_fill_(members.dim, members.index[units[members.unit]], 0.0)


def test_images_and_logits_keep_their_channels():
    module = Residual()
    groups = channel_groups(module, SHAPE)
    for group in groups:
        assert all((m.tensor, m.dim) != ("first.weight", 1) for m in group.members)
        assert all((m.tensor, m.dim) != ("head.weight", 0) for m in group.members)
        assert all(m.tensor != "head.bias" for m in group.members)


def test_a_group_says_what_makes_reads_and_follows_its_channels():
    (group,) = [g for g in channel_groups(Concatenated(), SHAPE) if g.name == "first"]
    assert [(m.tensor, m.dim) for m in group.makes] == [("first.weight", 0)]
    takes = {m.tensor: m.index.tolist() for m in group.takes}
    assert takes == {"branch.weight": list(range(8)), "head.weight": list(range(12, 20))}
    follows = {m.tensor: m.index.tolist() for m in group.follows}
    assert follows == {
        "first.bias": list(range(8)),
        **{f"norm.{name}": list(range(12, 20))
           for name in ("weight", "bias", "running_mean", "running_var")},
    }  # fmt: skip


def test_what_is_excluded_keeps_its_outputs_and_the_rest_does_not():
    names = {group.name for group in channel_groups(Residual(), SHAPE, excluded=["outer"])}
    assert names == {"inner"}
    with pytest.raises(ValueError, match=r"'outre' is no layer.*first, inner, outer|outre"):
        channel_groups(Residual(), SHAPE, excluded=["outre"])


def test_a_network_is_left_as_it_is():
    module = Scaled().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    channel_groups(module, SHAPE)
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_heads_of_attention_go_as_a_whole():
    module = build_model(ModelSettings(name="vit_b_32").spec((3, 64, 64), 5))
    groups = {group.name: group for group in channel_groups(module, (3, 64, 64))}
    attention = groups["encoder.layers.encoder_layer_0.self_attention"]
    assert (attention.units, attention.width) == (12, 3 * 64)
    stream = groups["conv_proj"]
    assert (stream.units, stream.width) == (768, 1)
    follows = {(members.tensor, members.dim) for members in stream.follows}
    assert {("class_token", 2), ("encoder.pos_embedding", 2)} <= follows
