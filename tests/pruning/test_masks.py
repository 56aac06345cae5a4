import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model_compression.pruning.evidence import Evidence
from model_compression.pruning.masks import (
    MaskPruningSettings,
    apply_masks,
    choose_masks,
    keep_highest,
    prunable_weights,
    weight_masks,
    zero_dropped,
)

SPARSITIES = st.floats(0.01, 0.99)
SHARES = st.floats(0, 1)
SCOPES = st.sampled_from(["global", "layer", "row"])
NAMES = ["0.weight", "3.weight", "4.weight"]


def settings(sparsity: float = 0.5, **changed: object) -> MaskPruningSettings:
    return MaskPruningSettings.model_validate(
        {"method": "weights", "sparsity": sparsity, **changed}
    )


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 7), nn.Linear(7, 3)
    )


def evidence_of(module: nn.Module) -> Evidence:
    generator = torch.Generator().manual_seed(9)
    weights = prunable_weights(module)
    return Evidence(
        gradients={
            name: torch.randn(weight.shape, generator=generator) for name, weight in weights.items()
        },
        input_norms={
            name.removesuffix(".weight"): torch.rand(weight.shape[1], generator=generator)
            for name, weight in weights.items()
        },
    )


def dropped(mask: torch.Tensor) -> int:
    return int((~mask).sum())


@given(
    rows=st.lists(st.lists(st.integers(-5, 5), min_size=6, max_size=6), min_size=1, max_size=5),
    count=st.integers(0, 6),
)
def test_the_wanted_number_goes_of_each_row_and_none_of_it_scores_more_than_what_stays(rows, count):
    scores = torch.tensor(rows, dtype=torch.float32)
    for row, kept in zip(scores, keep_highest(scores, count), strict=True):
        assert dropped(kept) == count
        if kept.any() and not kept.all():
            assert row[~kept].max() <= row[kept].min()


@given(scores=st.lists(st.integers(0, 2), min_size=1, max_size=12), data=st.data())
def test_equal_scores_are_decided_by_the_ties_and_then_by_place(scores, data):
    size = len(scores)
    ties = data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    count = data.draw(st.integers(0, size))
    kept = keep_highest(torch.tensor([scores]), count, torch.tensor([ties]))
    going = sorted(range(size), key=lambda index: (scores[index], ties[index], index))[:count]
    assert (~kept[0]).nonzero().flatten().tolist() == sorted(going)


@given(sparsity=SPARSITIES, share=SHARES, seed=st.integers(0, 100))
def test_the_global_scope_counts_over_the_whole_network(sparsity, share, seed):
    masks = weight_masks(network(seed), settings(sparsity), share=share)
    assert list(masks) == NAMES
    total = sum(mask.numel() for mask in masks.values())
    assert sum(map(dropped, masks.values())) == round(share * sparsity * total)


@given(sparsity=SPARSITIES, share=SHARES, seed=st.integers(0, 100))
def test_the_layer_scope_counts_in_each_layer(sparsity, share, seed):
    masks = weight_masks(network(seed), settings(sparsity, scope="layer"), share=share)
    for mask in masks.values():
        assert dropped(mask) == round(share * sparsity * mask.numel())


@given(sparsity=SPARSITIES, share=SHARES, seed=st.integers(0, 100))
def test_the_row_scope_counts_in_each_output(sparsity, share, seed):
    masks = weight_masks(network(seed), settings(sparsity, scope="row"), share=share)
    for mask in masks.values():
        for row in mask.flatten(1):
            assert dropped(row) == round(share * sparsity * row.numel())


@given(scope=SCOPES, own=st.floats(0, 0.99), sparsity=SPARSITIES)
def test_a_layer_with_a_sparsity_of_its_own_competes_with_nobody(scope, own, sparsity):
    chosen = settings(sparsity, scope=scope, sparsities={"3": own})
    masks = weight_masks(network(), chosen)
    rows = 7 if scope == "row" else 1
    assert dropped(masks["3.weight"]) == rows * round(own * 7 * 36 / rows)
    others = weight_masks(network(), settings(sparsity, scope=scope, excluded=["3"]))
    assert all(torch.equal(masks[name], others[name]) for name in others)


@given(
    scope=SCOPES,
    importance=st.sampled_from(["magnitude", "taylor", "lamp", "wanda", "random"]),
    shares=st.lists(SHARES, min_size=2, max_size=5).map(sorted),
    seed=st.integers(0, 20),
)
def test_masks_only_grow_though_the_weights_move_in_between(scope, importance, shares, seed):
    module = network(seed)
    chosen = settings(0.9, scope=scope, importance=importance)
    seen = evidence_of(module)
    masks = None
    for share in shares:
        grown = weight_masks(module, chosen, seen, share=share, before=masks)
        if masks is not None:
            assert not any((grown[name] & ~masks[name]).any() for name in masks)
        masks = grown
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter))
    sizes = {"global": None, "layer": lambda mask: 1, "row": len}[scope]
    counts = [dropped(mask) for mask in masks.values()]
    if sizes is None:
        assert sum(counts) == round(shares[-1] * 0.9 * sum(m.numel() for m in masks.values()))
    else:
        assert counts == [
            sizes(mask) * round(shares[-1] * 0.9 * (mask.numel() // sizes(mask)))
            for mask in masks.values()
        ]


def test_the_smallest_weights_go_whatever_their_sign():
    layer = nn.Linear(4, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-0.1, 3.0, 0.2, -2.0]]))
    masks = weight_masks(layer, settings())
    assert masks["weight"].tolist() == [[False, True, False, True]]


@pytest.mark.parametrize("importance", ["taylor", "wanda", "lamp"])
def test_the_importance_decides_which_weights_go(importance):
    module = network()
    seen = evidence_of(module)
    masks = weight_masks(module, settings(0.5, importance=importance), seen)
    parts = []
    for name, weight in prunable_weights(module).items():
        values = np.abs(weight.numpy().astype(np.float64))
        if importance == "taylor":
            parts.append((values * np.abs(seen.gradients[name].numpy())).ravel())
        elif importance == "wanda":
            norms = seen.input_norms[name.removesuffix(".weight")].numpy()
            parts.append((values * norms.reshape(1, -1, *(1,) * (weight.ndim - 2))).ravel())
        else:
            squares = np.sort(values.ravel() ** 2)
            sums = np.cumsum(squares[::-1])[::-1]
            parts.append(np.interp(values.ravel() ** 2, squares, squares / sums))
    scores = np.concatenate(parts)
    kept = torch.cat([mask.flatten() for mask in masks.values()]).numpy()
    assert (~kept).sum() == round(0.5 * len(scores))
    assert scores[~kept].max() < scores[kept].min()


@given(sparsity=SPARSITIES, seed=st.integers(0, 30))
def test_lamp_leaves_every_layer_a_weight(sparsity, seed):
    module = network(seed)
    with torch.no_grad():
        module[4].weight.mul_(1e-6)
    masks = weight_masks(module, settings(sparsity, importance="lamp"))
    assert all(mask.any() for mask in masks.values())


def test_a_layer_that_loses_all_its_weights_is_told_of(caplog):
    module = network()
    with torch.no_grad():
        module[4].weight.mul_(1e-6)
    with caplog.at_level(logging.WARNING):
        weight_masks(module, settings(0.5))
    assert "no weight in 4.weight" in caplog.text
    caplog.clear()
    weight_masks(module, settings(0.5, scope="layer"))
    assert not caplog.records


def test_the_layout_in_memory_does_not_matter():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3))
    plain = weight_masks(module, settings())
    module.to(memory_format=torch.channels_last)
    assert torch.equal(weight_masks(module, settings())["0.weight"], plain["0.weight"])


def test_choosing_leaves_the_network_as_it_is():
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    weight_masks(module, settings(importance="lamp"))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_mask_survives_fine_tuning():
    module = network()
    masks = weight_masks(module, settings(0.8))
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        module(torch.randn(4, 1, 5, 5)).square().sum().backward()
        optimizer.step()
        apply_masks(module, masks)
    for name, mask in masks.items():
        weight = module.get_parameter(name)
        assert torch.equal(weight != 0, mask)
        assert not torch.signbit(weight[~mask]).any()


def test_masking_twice_is_masking_once():
    module = network()
    masks = weight_masks(module, settings())
    apply_masks(module, masks)
    once = {name: value.clone() for name, value in module.state_dict().items()}
    apply_masks(module, masks)
    assert all(torch.equal(value, once[name]) for name, value in module.state_dict().items())
    assert all(torch.equal(mask, masks[n]) for n, mask in weight_masks(module, settings()).items())


def test_tensors_by_name_are_masked_in_place():
    tensors = {"a": torch.tensor([-1.0, 2.0]), "b": torch.ones(1)}
    kept = tensors["a"]
    zero_dropped(tensors, {"a": torch.tensor([False, True])})
    assert kept.tolist() == [0.0, 2.0]
    assert not torch.signbit(kept).any()
    assert tensors["b"].item() == 1


def test_a_weight_that_two_layers_share_is_counted_once():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    masks = weight_masks(module, settings())
    assert list(masks) == ["0.weight"]
    apply_masks(module, masks)
    assert int((module[1].weight == 0).sum()) == 8


def test_excluded_layers_keep_all_weights():
    masks = weight_masks(network(), settings(0.9, excluded=["3"]))
    assert set(masks) == {"0.weight", "4.weight"}


def test_a_wrong_path_is_answered_with_the_right_ones():
    with pytest.raises(ValueError, match=r"'conv' is no layer.*0, 3, 4"):
        weight_masks(network(), settings(excluded=["conv"]))
    with pytest.raises(ValueError, match=r"sparsities: 'conv' is no layer.*0, 3, 4"):
        weight_masks(network(), settings(sparsities={"conv": 0.5}))
    with pytest.raises(ValueError, match=r"sparsities: '3' .* not excluded.*0, 4"):
        weight_masks(network(), settings(sparsities={"3": 0.5}, excluded=["3"]))


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="none is excluded"):
        weight_masks(nn.Flatten(), settings())
    with pytest.raises(ValueError, match="nothing to prune"):
        weight_masks(network(), settings(excluded=["0", "3", "4"]))


@pytest.mark.parametrize(
    ("name", "reason"), [("9.weight", "there is none"), ("0.weight", r"it is \(4, 1, 3, 3\)")]
)
def test_masks_of_another_network_are_refused(name, reason):
    with pytest.raises(ValueError, match=reason):
        apply_masks(network(), {name: torch.ones(2, dtype=torch.bool)})


@pytest.mark.parametrize("sparsity", [0.0, 1.0, 1.5])
def test_an_impossible_sparsity_is_refused(sparsity):
    with pytest.raises(ValueError, match="sparsity"):
        settings(sparsity)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0])
def test_an_impossible_sparsity_of_a_layer_is_refused(sparsity):
    with pytest.raises(ValueError, match="sparsities"):
        settings(sparsities={"3": sparsity})


def test_movement_without_time_to_move_is_refused():
    with pytest.raises(ValueError, match=r"movement.*schedule.name to cubic"):
        settings(importance="movement")
    with pytest.raises(ValueError, match=r"movement.*schedule.name to cubic"):
        settings(importance="movement", schedule={"name": "one_shot"})
    with pytest.raises(ValueError, match=r"movement.*iterative, which here cuts everything before"):
        settings(importance="movement", schedule={"name": "iterative", "steps": 1})
    assert settings(importance="movement", schedule={"name": "iterative", "steps": 2})
    assert settings(importance="movement", schedule={"name": "cubic"}).update_every >= 1


def test_a_share_of_nothing_drops_nothing():
    scores = {name: weight.abs() for name, weight in prunable_weights(network()).items()}
    assert all(mask.all() for mask in choose_masks(scores, settings(), share=0.0).values())
