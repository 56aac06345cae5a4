import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model_compression.pruning.masks import (
    MaskPruningSettings,
    apply_masks,
    keep_largest,
    magnitude_masks,
)

SPARSITIES = st.floats(0.01, 0.99)


def settings(sparsity: float = 0.5, **changed: object) -> MaskPruningSettings:
    return MaskPruningSettings.model_validate(
        {"method": "magnitude", "sparsity": sparsity, **changed}
    )


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 7), nn.Linear(7, 3)
    )


@given(values=st.lists(st.integers(-5, 5), min_size=1, max_size=50), sparsity=SPARSITIES)
def test_exactly_the_wanted_number_goes_and_none_of_it_is_larger_than_what_stays(values, sparsity):
    magnitudes = torch.tensor(values, dtype=torch.float32).abs()
    kept = keep_largest(magnitudes, sparsity)
    assert int((~kept).sum()) == round(sparsity * len(values))
    if kept.any() and not kept.all():
        assert magnitudes[~kept].max() <= magnitudes[kept].min()


@given(sparsity=SPARSITIES, seed=st.integers(0, 100))
def test_the_global_scope_counts_over_the_whole_network(sparsity, seed):
    masks = magnitude_masks(network(seed), settings(sparsity))
    assert list(masks) == ["0.weight", "3.weight", "4.weight"]
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(sparsity * total)


@given(sparsity=SPARSITIES, seed=st.integers(0, 100))
def test_the_layer_scope_counts_in_each_layer(sparsity, seed):
    for mask in magnitude_masks(network(seed), settings(sparsity, scope="layer")).values():
        assert int((~mask).sum()) == round(sparsity * mask.numel())


def test_the_smallest_weights_go_whatever_their_sign():
    layer = nn.Linear(4, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-0.1, 3.0, 0.2, -2.0]]))
    masks = magnitude_masks(layer, settings())
    assert masks["weight"].tolist() == [[False, True, False, True]]


def test_the_mask_survives_fine_tuning():
    module = network()
    masks = magnitude_masks(module, settings(0.8))
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
    masks = magnitude_masks(module, settings())
    apply_masks(module, masks)
    once = {name: value.clone() for name, value in module.state_dict().items()}
    apply_masks(module, masks)
    assert all(torch.equal(value, once[name]) for name, value in module.state_dict().items())
    assert all(
        torch.equal(mask, masks[n]) for n, mask in magnitude_masks(module, settings()).items()
    )


def test_excluded_layers_keep_all_weights():
    masks = magnitude_masks(network(), settings(0.9, excluded=["3"]))
    assert set(masks) == {"0.weight", "4.weight"}


def test_a_wrong_path_is_answered_with_the_right_ones():
    with pytest.raises(ValueError, match=r"'conv' is no layer.*0, 3, 4"):
        magnitude_masks(network(), settings(excluded=["conv"]))


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="none is excluded"):
        magnitude_masks(nn.Flatten(), settings())
    with pytest.raises(ValueError, match="nothing to prune"):
        magnitude_masks(network(), settings(excluded=["0", "3", "4"]))


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
