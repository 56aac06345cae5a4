import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model_compression.evaluation import count_macs, count_parameters
from model_compression.models import ModelSettings, ModelSpec, build_model, build_with_weights
from model_compression.pruning.channels import (
    ChannelPruningSettings,
    channels_to_keep,
    prune_channels,
)

SHAPE = (1, 12, 12)


def settings(**changed: object) -> ChannelPruningSettings:
    return ChannelPruningSettings.model_validate(
        {"method": "channels", "ratio": 0.5, "round_to": 1, **changed}
    )


def spec_of(name: str, shape: tuple[int, int, int] = SHAPE) -> ModelSpec:
    return ModelSettings(name=name).spec(shape, 5)


def network(name: str = "resnet8") -> nn.Module:
    torch.manual_seed(0)
    return build_model(spec_of(name)).eval()


def widths(module: nn.Module) -> dict[str, int]:
    return {
        path: layer.weight.shape[0]
        for path, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("net", SHAPE),
        ("resnet20", SHAPE),
        ("wrn_16_2", SHAPE),
        ("resnet18", (3, 32, 32)),
        ("mobilenet_v2", (3, 32, 32)),
    ],
)
def test_a_pruned_network_is_rebuilt_bit_for_bit_from_its_weights(name, shape):
    spec = spec_of(name, shape)
    module = build_model(spec).eval()
    pruned = prune_channels(module, shape, settings(ratio=0.4, round_to=4), seed=0)
    rebuilt = build_with_weights(spec, pruned.state_dict()).eval()
    images = torch.randn(2, *shape)
    with torch.no_grad():
        assert torch.equal(pruned(images), rebuilt(images))
    assert count_parameters(pruned)[0] < 0.8 * count_parameters(module)[0]


def kill_channels(module: nn.Module, share: float) -> None:
    """Makes a share of each prunable group of a resnet's or a net's channels compute zero."""
    with torch.no_grad():
        for path, part in module.named_modules():
            if isinstance(part, nn.Conv2d | nn.Linear) and path != "classifier":
                dead = slice(round(share * part.weight.shape[0]))
                part.weight[dead] = 0
                if part.bias is not None:
                    part.bias[dead] = 0
            if isinstance(part, nn.BatchNorm2d):
                dead = slice(round(share * part.num_features))
                part.weight[dead] = 0
                part.bias[dead] = 0
        for part in module.modules():
            if isinstance(part, nn.Conv2d) and part.in_channels > 1:
                part.weight[:, : round(share * part.in_channels)] = 0


@pytest.mark.parametrize("name", ["resnet8", "net"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_removing_channels_that_compute_nothing_changes_no_logit(name, scope):
    module = network(name)
    kill_channels(module, 0.25)
    chosen = settings(ratio=0.2, scope=scope)
    pruned = prune_channels(module, SHAPE, chosen, seed=0)
    images = torch.randn(4, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(pruned(images), module(images), rtol=1e-4, atol=1e-5)
    assert sum(widths(pruned).values()) < 0.9 * sum(widths(module).values())


def test_each_layer_loses_the_same_share_in_layer_scope():
    before, after = (
        widths(network()),
        widths(prune_channels(network(), SHAPE, settings(scope="layer"), seed=0)),
    )
    assert after.pop("classifier") == before.pop("classifier") == 5
    assert after == {path: width // 2 for path, width in before.items()}


def test_the_whole_network_loses_the_share_in_global_scope_and_layers_differ():
    module = network("net")
    pruned = prune_channels(module, SHAPE, settings(ratio=0.3), seed=0)
    before, after = widths(module), widths(pruned)
    total = sum(before.values()) - 5
    assert sum(after.values()) - 5 == total - round(0.3 * total)
    assert len({after[path] / width for path, width in before.items()}) > 2


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_a_share_of_the_macs_is_met(ratio):
    module = network("resnet20")
    chosen = settings(ratio=ratio, target="macs", round_to=2)
    pruned = prune_channels(module, SHAPE, chosen, seed=0)
    removed = 1 - count_macs(pruned, SHAPE) / count_macs(module, SHAPE)
    assert removed == pytest.approx(ratio, abs=0.05)


@pytest.mark.parametrize("importance", ["l1", "l2", "lamp", "fpgm", "bn_scale", "random"])
def test_every_importance_prunes(importance):
    module = network()
    pruned = prune_channels(module, SHAPE, settings(importance=importance), seed=0)
    assert count_parameters(pruned)[0] < 0.7 * count_parameters(module)[0]


def test_chance_comes_from_the_seed_alone():
    def chosen(seed: int) -> torch.Tensor:
        pruned = prune_channels(network(), SHAPE, settings(importance="random"), seed)
        return pruned.stem.weight

    before = torch.random.get_rng_state()
    first = chosen(1)
    assert torch.equal(first, chosen(1))
    second = chosen(2)
    assert first.shape != second.shape or not torch.equal(first, second)
    network()
    prune_channels(network(), SHAPE, settings(importance="random"), 1)
    state = torch.random.get_rng_state()
    torch.random.set_rng_state(before)
    network()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_least_important_channels_go():
    module = network("net")
    strength = torch.arange(16.0)
    with torch.no_grad():
        module.conv2.weight.copy_(strength.view(-1, 1, 1, 1).expand_as(module.conv2.weight))
        module.linear1.weight.fill_(1.0)
    pruned = prune_channels(
        module, SHAPE, settings(scope="layer", importance="l1", excluded=["conv1"]), seed=0
    )
    assert pruned.conv2.weight[:, 0, 0, 0].tolist() == list(range(8, 16))


def test_layers_keep_a_multiple_of_round_to():
    pruned = prune_channels(network(), SHAPE, settings(ratio=0.4, round_to=8), seed=0)
    assert all(width % 8 == 0 for path, width in widths(pruned).items() if path != "classifier")


@given(st.integers(1, 500), st.integers(1, 64), st.data())
def test_rounding_keeps_the_nearest_multiple_and_never_nothing(channels, round_to, data):
    wanted = data.draw(st.integers(0, channels))
    kept = channels_to_keep(channels, wanted, round_to)
    assert 1 <= kept <= channels
    assert kept == channels or (kept % round_to == 0)
    if round_to <= wanted <= channels - round_to:
        assert abs(kept - wanted) <= round_to / 2


def test_excluded_layers_keep_their_channels():
    excluded = ["stages.0", "stages.1.0.conv1"]
    pruned = prune_channels(network(), SHAPE, settings(excluded=excluded), seed=0)
    after = widths(pruned)
    kept = [path for path in after if path.startswith(tuple(excluded))]
    assert {path: after[path] for path in kept} == {p: widths(network())[p] for p in kept}
    assert sum(after.values()) < sum(widths(network()).values())


def test_a_wrong_path_is_answered_with_the_right_ones():
    with pytest.raises(ValueError, match=r"'stage0' is no layer.*stages\.0\.0\.conv1"):
        prune_channels(network(), SHAPE, settings(excluded=["stage0"]), seed=0)


def test_the_input_is_left_as_it_is_and_the_copy_has_its_modes():
    module = network().train()
    module.norm.eval()
    module.stem.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        pruned = prune_channels(module, SHAPE, settings(), seed=0)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in pruned.parameters())
    for network_ in (module, pruned):
        assert (network_.training, network_.norm.training) == (True, False)
        trained = {name for name, value in network_.named_parameters() if value.requires_grad}
        assert trained == {name for name, _ in module.named_parameters()} - {"stem.weight"}


def test_grouped_convolutions_lose_whole_groups():
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 16, 3)
            self.grouped = nn.Conv2d(16, 16, 3, groups=4)
            self.classifier = nn.Linear(16, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.grouped(self.first(x).relu()).relu()
            return self.classifier(x.mean((2, 3)))

    pruned = prune_channels(Grouped(), SHAPE, settings(round_to=8, importance="l2"), seed=0)
    assert (pruned.first.out_channels, pruned.grouped.out_channels) == (8, 8)
    assert (pruned.grouped.groups, pruned.grouped.weight.shape[1]) == (2, 4)
    assert pruned(torch.randn(2, *SHAPE)).shape == (2, 5)


def test_a_ratio_that_removes_nothing_is_refused():
    with pytest.raises(ValueError, match="lower round_to"):
        prune_channels(network(), SHAPE, settings(ratio=0.05, round_to=64), seed=0)


def test_a_network_without_anything_to_prune_is_refused():
    with pytest.raises(ValueError, match="No channel can be pruned"):
        prune_channels(network("net"), SHAPE, settings(importance="bn_scale"), seed=0)


class WrittenDown(nn.Module):
    """The width of one of its layers stands in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3)
        self.other = nn.Conv2d(16, 16, 3)
        self.classifier = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.other(self.conv(x).relu())
        return self.classifier(x.mean((2, 3)).view(-1, 16))


def test_a_layer_whose_width_is_written_down_keeps_it_and_the_log_says_so(caplog):
    pruned = prune_channels(WrittenDown(), SHAPE, settings(scope="layer"), seed=0)
    assert (pruned.conv.out_channels, pruned.other.out_channels) == (8, 16)
    assert "keep all: other" in caplog.text
    with pytest.raises(ValueError, match=r"No channel can be pruned.*method weights"):
        prune_channels(WrittenDown(), SHAPE, settings(excluded=["conv"]), seed=0)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("shufflenet_v2_x0_5", 32),
        ("swin_v2_t", 32),
        ("vit_b_32", 32),
        ("regnet_y_400mf", 32),
    ],
)
def test_half_the_macs_go_from_any_network_and_its_weights_rebuild_it(name, side):
    shape = (3, side, side)
    spec = spec_of(name, shape)
    torch.manual_seed(0)
    module = build_model(spec).eval()
    chosen = settings(target="macs", importance="l2", round_to=8, scope="layer")
    pruned = prune_channels(module, shape, chosen, seed=0)
    left = count_macs(pruned, shape) / count_macs(module, shape)
    assert left == pytest.approx(0.5, abs=0.05)
    rebuilt = build_with_weights(spec, pruned.state_dict()).eval()
    images = torch.randn(2, *shape)
    with torch.no_grad():
        assert torch.equal(pruned(images), rebuilt(images))


class HeadFirst(nn.Module):
    """The layer that is called last is not the one that makes the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(8, 6)
        self.watch = nn.Linear(144, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.head(self.conv(x).mean((2, 3)))
        return logits * self.watch(x.flatten(1)).detach().mean()


def test_the_logits_stay_whichever_layer_makes_them():
    pruned = prune_channels(HeadFirst(), SHAPE, settings(scope="layer"), seed=0)
    assert (pruned.conv.out_channels, pruned.head.out_features) == (4, 6)


def test_ratios_of_single_layers_are_met_and_others_lose_the_common_one():
    chosen = settings(ratios={"conv1": 0.0, "linear1": 0.75}, scope="layer", ratio=0.5)
    before, after = widths(network("net")), widths(prune_channels(network("net"), SHAPE, chosen, 0))
    assert after["conv1"] == before["conv1"]
    assert after["linear1"] == before["linear1"] // 4
    assert after["conv2"] == before["conv2"] // 2
    with pytest.raises(ValueError, match=r"ratios names conv9.*conv1, conv2, linear1, linear2"):
        prune_channels(network("net"), SHAPE, settings(ratios={"conv9": 0.5}), seed=0)
    with pytest.raises(ValueError, match="share of 'conv1'"):
        settings(ratios={"conv1": 1.0})


@pytest.mark.parametrize("target", ["parameters", "latency"])
def test_a_share_of_another_cost_is_met(target):
    def parameters(module: nn.Module) -> float:
        return float(count_parameters(module)[0])

    module = network("resnet20")
    chosen = settings(ratio=0.4, target=target, round_to=2)
    pruned = prune_channels(module, SHAPE, chosen, seed=0, latency=parameters)
    assert parameters(pruned) / parameters(module) == pytest.approx(0.6, abs=0.03)


def test_a_time_needs_something_that_measures_it():
    with pytest.raises(ValueError, match="expected latency"):
        prune_channels(network(), SHAPE, settings(target="latency"), seed=0)


def test_a_cut_of_a_schedule_may_leave_nothing_to_remove():
    module = network()
    same = prune_channels(module, SHAPE, settings(round_to=64), seed=0, ratio=0.05)
    assert widths(same) == widths(module)


@pytest.mark.parametrize("wrong", [{"ratio": 1.0}, {"ratio": 0.0}, {"round_to": 0}, {"typo": 1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        settings(**wrong)
