import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model_compression.pruning.evidence import Evidence
from model_compression.pruning.n_m import NMPruningSettings, keep_n_of_m, n_m_masks, n_m_weights

PATTERNS = st.integers(2, 8).flatmap(lambda m: st.tuples(st.integers(1, m - 1), st.just(m)))


def settings(**changed: object) -> NMPruningSettings:
    return NMPruningSettings.model_validate({"method": "n_m", **changed})


def network() -> nn.Module:
    """Rows of 9, 36 and 8 weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.Conv2d(4, 8, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


@given(pattern=PATTERNS, groups=st.integers(1, 4), rows=st.integers(1, 3), seed=st.integers(0, 99))
def test_of_every_m_consecutive_weights_of_a_row_the_n_highest_stay(pattern, groups, rows, seed):
    n, m = pattern
    scores = torch.rand(rows, groups * m, generator=torch.Generator().manual_seed(seed))
    kept = keep_n_of_m(scores, n, m)
    for row in range(rows):
        for start in range(0, groups * m, m):
            group = scores[row, start : start + m].tolist()
            stay = kept[row, start : start + m].tolist()
            assert sum(stay) == n
            assert sorted(group)[m - n :] == sorted(
                value for value, here in zip(group, stay, strict=True) if here
            )


def test_two_of_four_by_hand():
    layer = nn.Linear(8, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -4.0, 2.0, 3.0, 0.0, 0.0, 9.0, 0.1]]))
    mask = n_m_masks(layer, settings())["weight"]
    assert mask.tolist() == [[False, True, False, True, False, False, True, True]]


def test_the_pattern_runs_along_the_inputs_of_an_output_in_the_files_order():
    mask = n_m_masks(network(), settings(n=1, m=3))["1.weight"]
    assert (mask.reshape(8, 12, 3).sum(2) == 1).all()
    # 3 columns of a kernel are one group, so each kernel's rows keep one weight each.
    assert (mask.sum(3) == 1).all()


def test_layers_that_the_pattern_does_not_fit_keep_all_and_are_named(caplog):
    with caplog.at_level(logging.WARNING):
        masks = n_m_masks(network(), settings())
    assert set(masks) == {"1.weight", "4.weight"} == set(n_m_weights(network(), settings()))
    assert "0.weight (9)" in caplog.text
    caplog.clear()
    n_m_masks(network(), settings(excluded=["0"]))
    assert not caplog.records


def test_a_pattern_that_fits_no_layer_is_refused():
    with pytest.raises(ValueError, match=r"multiple of m = 7.*0.weight \(9\), 1.weight \(36\)"):
        n_m_masks(network(), settings(m=7))


def test_evidence_decides_where_the_importance_reads_it():
    layer = nn.Linear(4, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    gradients = {"weight": torch.tensor([[0.0, 2.0, -3.0, 1.0]])}
    norms = {"": torch.tensor([5.0, 0.0, 1.0, 2.0])}
    seen = Evidence(gradients=gradients, input_norms=norms)
    by_taylor = n_m_masks(layer, settings(importance="taylor"), seen)["weight"]
    by_wanda = n_m_masks(layer, settings(importance="wanda"), seen)["weight"]
    assert by_taylor.tolist() == [[False, True, True, False]]
    assert by_wanda.tolist() == [[True, False, False, True]]


def test_chance_keeps_the_pattern():
    masks = n_m_masks(network(), settings(importance="random"), seed=1)
    assert all((mask.reshape(-1, 4).sum(1) == 2).all() for mask in masks.values())
    other = n_m_masks(network(), settings(importance="random"), seed=2)
    assert not torch.equal(masks["1.weight"], other["1.weight"])


@pytest.mark.parametrize(
    "wrong", [{"n": 4}, {"n": 0}, {"m": 1, "n": 1}, {"importance": "movement"}]
)
def test_an_impossible_pattern_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        settings(**wrong)
