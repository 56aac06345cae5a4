import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_compression.quantization.formula import fake_quantize, symmetric_grid
from model_compression.quantization.weight_quantizers import (
    CodebookQuantizer,
    FixedStepQuantizer,
    LargestWeightQuantizer,
    LearnedStepQuantizer,
    WeightQuantizer,
)

KINDS = [LargestWeightQuantizer, FixedStepQuantizer, LearnedStepQuantizer, CodebookQuantizer]


def begun(kind: type[WeightQuantizer], weight: torch.Tensor, bits: int, sharing: str = "channel"):
    largest = 127 if kind is CodebookQuantizer else 2 ** (bits - 1) - 1
    quantizer = kind(
        bits=bits,
        sharing=sharing,
        quant_min=-largest,
        quant_max=largest,
        dtype=torch.int8,
        qscheme=torch.per_channel_symmetric,
    )
    quantizer.begin(weight)
    return quantizer


def some_weight(seed: int = 0) -> torch.Tensor:
    return torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sharing", ["channel", "tensor"])
@given(bits=st.integers(2, 8), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_a_rounded_weight_is_an_integer_times_its_step_and_stays(kind, sharing, bits, seed):
    weight = some_weight(seed)
    weight[0, 0] = 0.0
    quantizer = begun(kind, weight, bits, sharing)
    rounded = quantizer(weight).detach()
    scale, zero = quantizer.calculate_qparams()
    integers = rounded / scale.view(-1, 1, 1, 1)
    assert len(scale) == (5 if sharing == "channel" else 1)
    assert not zero.any()
    torch.testing.assert_close(integers, integers.round(), rtol=0, atol=1e-4)
    assert integers.abs().max() <= quantizer.quant_max + 1e-4
    assert not rounded[weight == 0].any()
    torch.testing.assert_close(quantizer(rounded).detach(), rounded)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_fixed_steps_begin_with_the_formulas(bits):
    weight = some_weight()
    expected = fake_quantize(weight, symmetric_grid(weight, bits, axis=0))
    actual = begun(FixedStepQuantizer, weight, bits)(weight)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_a_learned_step_begins_with_the_mean_of_the_weights_that_are_left():
    weight = torch.tensor([[1.0, -3.0, 0.0, 0.0]])
    quantizer = begun(LearnedStepQuantizer, weight, 3)
    assert quantizer.scale.item() == pytest.approx(2 * 2.0 / 3**0.5)


def test_a_learned_steps_gradient_is_lsqs():
    # Steps of 0.5, integers to 1: 1.2 and -4 steps lie outside of the grid, 0.4 inside.
    weight = torch.tensor([[0.6, 0.2, -2.0]], requires_grad=True)
    quantizer = begun(LearnedStepQuantizer, weight, 2)
    with torch.no_grad():
        quantizer.log_step.fill_(math.log(0.5))
    quantizer(weight).backward(torch.tensor([[1.0, 10.0, 100.0]]))
    by_hand = (1 * 1 + (0 - 0.4) * 10 + -1 * 100) / (3 * 1) ** 0.5
    # Of the step's logarithm: the step times its own gradient.
    assert quantizer.log_step.grad.item() == pytest.approx(0.5 * by_hand, rel=1e-5)
    assert weight.grad.tolist() == [[0.0, 10.0, 0.0]]


def test_a_codebook_begins_with_clusters_and_pins_zero():
    weight = torch.tensor([[0.1, 0.11, 0.09, 0.5, 0.51, -1.0, -1.0, 0.0, 0.0]])
    quantizer = begun(CodebookQuantizer, weight, 2)
    assert quantizer.codebook().tolist() == [-127.0, 0.0, 13.0, 64.0]


def test_a_codebooks_values_follow_the_sum_of_their_weights_gradients():
    weight = torch.tensor([[0.1, 0.11, 0.09, 0.5, 0.51, -1.0, -1.0, 0.0]])
    quantizer = begun(CodebookQuantizer, weight, 2)
    quantizer(weight).sum().backward()
    found = {
        round(value.item(), 2): slope.item()
        for value, slope in zip(quantizer.values, quantizer.values.grad, strict=True)
    }
    # Each weight is its value times the largest weight, 1; sums over the root of the counts.
    assert found == pytest.approx({-1.0: 2**0.5, 0.1: 3**0.5, 0.5: 2**0.5}, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pruned_weight_gets_no_gradient_and_others_do(kind):
    weight = some_weight()
    weight[1] = 0.0
    weight.requires_grad_()
    begun(kind, weight, 4)(weight).sum().backward()
    assert not weight.grad[1].any()
    assert weight.grad[0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_zeros_stays_zero(kind):
    weight = torch.zeros(2, 3)
    assert not begun(kind, weight, 4)(weight).any()


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_can_be_switched_off(kind):
    weight = some_weight()
    quantizer = begun(kind, weight, 2)
    quantizer.enable_fake_quant(False)
    assert torch.equal(quantizer(weight), weight)
