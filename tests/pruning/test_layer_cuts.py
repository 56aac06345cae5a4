"""Layers that lose shares of their own: what goes is what pruning itself would take."""

import pytest
import torch
from torch import nn

from model_compression.evaluation import count_macs, count_parameters
from model_compression.models import ModelSettings, build_model
from model_compression.pruning.channels import ChannelPruningSettings, prune_channels
from model_compression.pruning.layer_cuts import layer_cuts
from model_compression.pruning.masks import MaskPruningSettings, apply_masks, weight_masks
from model_compression.pruning.n_m import NMPruningSettings

SHAPE = (1, 12, 12)


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name="resnet8").spec(SHAPE, 5)).eval()


def channels(**changed: object) -> ChannelPruningSettings:
    return ChannelPruningSettings.model_validate({"method": "channels", "round_to": 4, **changed})


def weights(**changed: object) -> MaskPruningSettings:
    return MaskPruningSettings.model_validate({"method": "weights", **changed})


def same(first: nn.Module, second: nn.Module) -> bool:
    mine, other = first.state_dict(), second.state_dict()
    return mine.keys() == other.keys() and all(
        torch.equal(mine[name], other[name]) for name in mine
    )


@pytest.mark.parametrize("target", ["channels", "macs", "parameters"])
def test_channels_are_cut_as_pruning_cuts_them(target):
    module = network()
    settings = channels(target=target, ratio=0.4)
    cuts = layer_cuts(module, SHAPE, settings, seed=0)
    ratios = {layer: 0.25 + 0.05 * place for place, layer in enumerate(cuts.layers)}
    cut = cuts.without(ratios)
    assert same(
        cut, prune_channels(module, SHAPE, settings.model_copy(update={"ratios": ratios}), seed=0)
    )
    costs = {
        "macs": lambda each: count_macs(each, SHAPE),
        "parameters": lambda each: count_parameters(each)[0],
        "channels": lambda each: sum(
            each.get_submodule(layer).weight.shape[0] for layer in cuts.layers
        ),
    }[target]
    assert cuts.removed(ratios) == pytest.approx(1 - costs(cut) / costs(module))
    # Biases and norms are parameters too, but no estimate counts them.
    assert cuts.estimated(ratios) == pytest.approx(cuts.removed(ratios), abs=0.005)
    if target != "parameters":
        assert cuts.estimated(ratios) == pytest.approx(cuts.removed(ratios))
    assert (cuts.wanted, cuts.setting) == (0.4, "ratios")


@pytest.mark.parametrize(
    ("name", "size"), [("mobilenet_v2", 32), ("shufflenet_v2_x0_5", 32), ("net", 28)]
)
def test_multiply_accumulates_are_told_from_the_weights_shapes(name, size):
    shape = (3, size, size)
    module = build_model(ModelSettings(name=name).spec(shape, 5)).eval()
    cuts = layer_cuts(module, shape, channels(target="macs", importance="l2"), seed=0)
    ratios = {layer: 0.5 for layer in cuts.layers[::2]}
    assert cuts.estimated(ratios) == pytest.approx(cuts.removed(ratios))
    assert cuts.estimated(ratios) > 0.1


def test_a_layer_that_is_allocated_nothing_keeps_channels_that_are_no_multiple():
    torch.manual_seed(0)
    spec = ModelSettings(name="resnet8", options={"width": 10}).spec(SHAPE, 5)
    module = build_model(spec).eval()
    settings = channels(round_to=8)
    cuts = layer_cuts(module, SHAPE, settings, seed=0)
    ratios = dict.fromkeys(cuts.layers, 0.0) | {cuts.layers[-1]: 0.5}
    cut = cuts.without(ratios)
    assert same(
        cut, prune_channels(module, SHAPE, settings.model_copy(update={"ratios": ratios}), seed=0)
    )
    assert cut.stem.weight.shape[0] == 10


def test_a_network_without_channels_to_prune_is_refused_in_the_words_of_pruning():
    module = nn.Sequential(nn.Flatten(), nn.Linear(144, 5))
    with pytest.raises(ValueError, match="leads to the logits"):
        layer_cuts(module, SHAPE, channels(), seed=0)


def test_a_share_is_rounded_to_what_can_go():
    cuts = layer_cuts(network(), SHAPE, channels(round_to=8), seed=0)
    stem = cuts.layers[0]
    assert [cuts.nearest(stem, ratio) for ratio in (0.1, 0.3, 0.6, 0.99)] == [0, 0.5, 0.5, 0.5]


def test_a_rounded_share_written_with_six_digits_means_the_same_channels():
    cuts = layer_cuts(network(), SHAPE, channels(round_to=1), seed=0)
    for layer in cuts.layers:
        for percent in range(1, 100):
            ratio = cuts.nearest(layer, percent / 100)
            written = float(f"{ratio:.6f}")
            assert cuts.nearest(layer, written) == ratio


def test_a_measured_time_is_estimated_by_multiply_accumulates():
    timed = []

    def latency(module: nn.Module) -> float:
        timed.append(module)
        return float(count_parameters(module)[0])

    module = network()
    cuts = layer_cuts(module, SHAPE, channels(target="latency"), seed=0, latency=latency)
    calls = len(timed)
    ratios = dict.fromkeys(cuts.layers, 0.5)
    cut = cuts.without(ratios)
    assert cuts.estimated(ratios) == pytest.approx(
        1 - count_macs(cut, SHAPE) / count_macs(module, SHAPE)
    )
    assert len(timed) == calls
    assert cuts.removed(ratios) == pytest.approx(
        1 - count_parameters(cut)[0] / count_parameters(module)[0]
    )
    assert len(timed) == calls + 1


@pytest.mark.parametrize("scope", ["global", "layer", "row"])
def test_weights_are_masked_as_pruning_masks_them(scope):
    module = network()
    settings = weights(scope=scope, sparsity=0.7)
    cuts = layer_cuts(module, SHAPE, settings, seed=0)
    sparsities = {layer: 0.5 + 0.04 * place for place, layer in enumerate(cuts.layers)}
    masked = network()
    apply_masks(
        masked, weight_masks(module, settings.model_copy(update={"sparsities": sparsities}))
    )
    assert same(cuts.without(sparsities), masked)
    zeros = sum(int((masked.get_submodule(layer).weight == 0).sum()) for layer in cuts.layers)
    whole = sum(module.get_submodule(layer).weight.numel() for layer in cuts.layers)
    assert cuts.removed(sparsities) == pytest.approx(zeros / whole, abs=0.02)
    assert cuts.estimated(sparsities) == cuts.removed(sparsities)
    assert (cuts.wanted, cuts.setting) == (0.7, "sparsities")
    for layer in cuts.layers:
        weight = masked.get_submodule(layer).weight
        competing = weight[0].numel() if scope == "row" else weight.numel()
        zeros = (weight == 0).flatten(1).sum(1) if scope == "row" else (weight == 0).sum()
        assert (zeros == round(cuts.nearest(layer, sparsities[layer]) * competing)).all()
        assert cuts.nearest(layer, 0.9999) < 1


@pytest.mark.parametrize("settings", [channels(), weights()])
def test_the_network_itself_stays_as_it_is_and_excluded_layers_are_left_out(settings):
    module, before = network(), network()
    cuts = layer_cuts(
        module, SHAPE, settings.model_copy(update={"excluded": ("stages.1",)}), seed=0
    )
    cuts.without(dict.fromkeys(cuts.layers, 0.5))
    assert same(module, before)
    assert cuts.layers
    assert not any(layer.startswith("stages.1.0.conv1") for layer in cuts.layers)
    assert same(cuts.without({}), before)


def test_what_takes_the_same_of_every_layer_is_refused():
    with pytest.raises(ValueError, match="n_m takes the same share of every layer"):
        layer_cuts(network(), SHAPE, NMPruningSettings(method="n_m"), seed=0)
