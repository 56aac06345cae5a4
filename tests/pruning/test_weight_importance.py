import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model_compression.pruning.evidence import Evidence
from model_compression.pruning.weight_importance import (
    lamp,
    magnitude,
    needs,
    score_weights,
    taylor,
    wanda,
)

VALUES = st.lists(st.integers(-4, 4), min_size=1, max_size=30)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def lamp_by_definition(weight: np.ndarray) -> np.ndarray:
    """Sorted by magnitude, each square over the sum of itself and all that come after."""
    flat = weight.astype(np.float64).ravel()
    scores = np.zeros_like(flat)
    for index, value in enumerate(flat):
        larger = np.abs(flat) > abs(value)
        as_large_and_not_earlier = (np.abs(flat) == abs(value)) & (np.arange(len(flat)) >= index)
        if value != 0:
            scores[index] = value**2 / (flat[larger | as_large_and_not_earlier] ** 2).sum()
    return scores.reshape(weight.shape)


def test_magnitude_and_taylor_are_what_numpy_says():
    weight, gradient = drawn(3, 4), drawn(3, 4, seed=1)
    np.testing.assert_array_equal(magnitude(weight).numpy(), np.abs(weight.numpy()))
    np.testing.assert_array_equal(
        taylor(weight, gradient).numpy(), np.abs(weight.numpy() * gradient.numpy())
    )


def test_lamp_is_the_papers_formula_by_hand():
    scores = lamp(torch.tensor([[1.0, -3.0], [2.0, 0.0]]))
    assert scores.tolist() == [[1 / 14, 1.0], [4 / 13, 0.0]]


@given(values=VALUES)
def test_lamp_is_what_numpy_says(values):
    weight = torch.tensor(values, dtype=torch.float32)
    np.testing.assert_allclose(lamp(weight).numpy(), lamp_by_definition(weight.numpy()), rtol=1e-12)


@given(values=VALUES, factor=st.sampled_from([0.25, 2.0, 64.0]))
def test_lamp_does_not_see_a_layers_scale_and_ranks_as_magnitude_does(values, factor):
    weight = torch.tensor(values, dtype=torch.float32)
    scores = lamp(weight)
    torch.testing.assert_close(lamp(factor * weight), scores)
    ranked = torch.argsort(weight.abs(), stable=True)
    assert (scores[ranked].diff() >= 0).all()
    assert scores.max() == (1.0 if weight.any() else 0.0)


def test_wanda_multiplies_each_input_channel_with_its_norm():
    weight, norms = drawn(3, 2, 2, 2), torch.tensor([0.5, 4.0])
    expected = np.abs(weight.numpy()) * np.array([0.5, 4.0]).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(wanda(weight, norms).numpy(), expected, rtol=1e-6)


def test_wanda_gives_each_group_of_a_convolution_the_inputs_that_it_reads():
    layer = nn.Conv2d(6, 4, 3, groups=2)
    norms = torch.arange(1.0, 7.0)
    scores = wanda(layer.weight.detach(), norms)
    for output in range(4):
        for index in range(3):
            expected = layer.weight[output, index].abs() * norms[3 * (output // 2) + index]
            assert torch.equal(scores[output, index], expected)


@given(seed=st.integers(0, 50))
def test_wanda_ranks_a_linear_layers_weights_by_what_they_add_to_an_output(seed):
    weight, inputs = drawn(2, 5, seed=seed), drawn(7, 5, seed=seed + 1)
    scores = wanda(weight, inputs.norm(dim=0))
    # The norm over images of one product w x is how much the output changes without the weight.
    effects = (inputs.unsqueeze(1) * weight).norm(dim=0)
    torch.testing.assert_close(scores, effects)


def test_chance_is_the_same_for_the_same_seed_only():
    weights = {"a.weight": drawn(4, 5), "b.weight": drawn(4, 5)}
    first, again = (score_weights(weights, "random", seed=3) for _ in range(2))
    other = score_weights(weights, "random", seed=4)
    assert all(torch.equal(first[name], again[name]) for name in weights)
    assert not torch.equal(first["a.weight"], other["a.weight"])
    assert not torch.equal(first["a.weight"], first["b.weight"])


def test_chance_leaves_torchs_random_state_alone():
    before = torch.random.get_rng_state()
    score_weights({"a.weight": drawn(4, 5)}, "random", seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_evidence_finds_its_weight_by_name():
    weights = {"weight": drawn(2, 3), "a.b.weight": drawn(2, 3, seed=1)}
    evidence = Evidence(
        gradients={name: drawn(2, 3, seed=5) for name in weights},
        input_norms={"": torch.ones(3), "a.b": torch.full((3,), 2.0)},
    )
    by_taylor = score_weights(weights, "taylor", evidence)
    by_wanda = score_weights(weights, "wanda", evidence)
    for name, factor in (("weight", 1.0), ("a.b.weight", 2.0)):
        assert torch.equal(by_taylor[name], (weights[name] * drawn(2, 3, seed=5)).abs())
        assert torch.equal(by_wanda[name], weights[name].abs() * factor)


@pytest.mark.parametrize("importance", ["magnitude", "lamp", "random", "movement"])
def test_these_importances_need_no_images(importance):
    assert needs(importance) == frozenset()


@pytest.mark.parametrize(
    ("importance", "field"), [("taylor", "gradients"), ("wanda", "input_norms")]
)
@pytest.mark.parametrize("evidence", [None, Evidence()])
def test_missing_evidence_is_asked_for_by_name(importance, field, evidence):
    assert needs(importance) == {field}
    with pytest.raises(ValueError, match=rf"{field} for 'a.*gathered for no layer: gather it"):
        score_weights({"a.weight": drawn(2, 3)}, importance, evidence)


def test_evidence_of_other_layers_is_named():
    evidence = Evidence(gradients={"b.weight": drawn(2, 3)})
    with pytest.raises(ValueError, match=r"'a.weight'.*only for b.weight"):
        score_weights({"a.weight": drawn(2, 3)}, "taylor", evidence)


def test_evidence_of_another_shape_is_refused():
    gradients, norms = {"a.weight": drawn(1, 3)}, {"a": torch.ones(4)}
    evidence = Evidence(gradients=gradients, input_norms=norms)
    for importance in ("taylor", "wanda"):
        with pytest.raises(ValueError, match=r"a.weight.*this very network"):
            score_weights({"a.weight": drawn(2, 3)}, importance, evidence)


def test_evidence_that_is_not_finite_is_refused():
    evidence = Evidence(gradients={"a.weight": torch.full((2, 3), torch.nan)})
    with pytest.raises(ValueError, match=r"a.weight is not finite.*learning rate"):
        score_weights({"a.weight": drawn(2, 3)}, "taylor", evidence)


def test_movement_cannot_be_told_from_a_network_that_stands_still():
    with pytest.raises(ValueError, match="cubic"):
        score_weights({"a.weight": drawn(2, 3)}, "movement")
