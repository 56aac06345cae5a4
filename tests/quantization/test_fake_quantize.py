import pytest
import torch
from torchao.quantization.pt2e import (
    FakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)

from model_compression.quantization.fake_quantize import SMALLEST_SCALE, ActivationFakeQuantize
from model_compression.quantization.formula import affine_grid, fake_quantize, symmetric_grid
from model_compression.quantization.weight_quantizers import LargestWeightQuantizer


def activation_quantizer(
    averaging: float = 0.01, qscheme: torch.qscheme = torch.per_tensor_affine
) -> ActivationFakeQuantize:
    return ActivationFakeQuantize(
        averaging=averaging, quant_min=0, quant_max=255, dtype=torch.uint8, qscheme=qscheme
    )


def weight_quantizer(bits: int = 8) -> LargestWeightQuantizer:
    largest = 2 ** (bits - 1) - 1
    return LargestWeightQuantizer(
        bits=bits,
        sharing="channel",
        quant_min=-largest,
        quant_max=largest,
        dtype=torch.int8,
        qscheme=torch.per_channel_symmetric,
    )


@pytest.fixture
def activations() -> torch.Tensor:
    return torch.randn(64, 8, generator=torch.Generator().manual_seed(0)) + 0.5


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(1))


def test_activations_are_rounded_by_the_formula(activations):
    expected = fake_quantize(activations, affine_grid(activations))
    torch.testing.assert_close(activation_quantizer()(activations), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_rounded_by_the_formula(weight, bits):
    expected = fake_quantize(weight, symmetric_grid(weight, bits, axis=0))
    torch.testing.assert_close(weight_quantizer(bits)(weight), expected, rtol=0, atol=1e-6)


def test_torchaos_own_fake_quantizers_agree_with_the_formula(activations, weight):
    theirs = FakeQuantize(
        observer=MovingAverageMinMaxObserver,
        quant_min=0,
        quant_max=255,
        dtype=torch.uint8,
        qscheme=torch.per_tensor_affine,
    )
    expected = fake_quantize(activations, affine_grid(activations))
    torch.testing.assert_close(theirs(activations), expected, rtol=0, atol=1e-6)
    theirs = FakeQuantize(
        observer=MovingAveragePerChannelMinMaxObserver,
        quant_min=-127,
        quant_max=127,
        dtype=torch.int8,
        qscheme=torch.per_channel_symmetric,
    )
    expected = fake_quantize(weight, symmetric_grid(weight, axis=0))
    torch.testing.assert_close(theirs(weight), expected, rtol=0, atol=1e-6)


def test_the_gradient_passes_inside_the_range_as_in_pytorchs_kernel(activations):
    quantizer = activation_quantizer().eval()
    quantizer.low.fill_(-0.3)
    quantizer.high.fill_(0.9)
    ours, theirs = (activations.clone().requires_grad_() for _ in range(2))
    upstream = torch.randn_like(activations)
    quantizer(ours).backward(upstream)
    scale, zero_point = quantizer.calculate_qparams()
    torch.fake_quantize_per_tensor_affine(theirs, scale, zero_point, 0, 255).backward(upstream)
    assert torch.equal(ours.grad, theirs.grad)
    assert 0 < (ours.grad == 0).sum() < ours.grad.numel()


def test_the_range_is_the_mean_of_the_first_batches_and_then_a_moving_average():
    quantizer = activation_quantizer(averaging=0.4)
    for low, high in [(-1.0, 2.0), (-3.0, 4.0), (-2.0, 9.0)]:
        quantizer(torch.tensor([low, 0.0, high]))
    # The weights are max(0.4, 1/n): 1, 1/2, 0.4.
    assert quantizer.low.item() == pytest.approx(-2.0 + 0.4 * 0.0)
    assert quantizer.high.item() == pytest.approx(3.0 + 0.4 * (9.0 - 3.0))


@pytest.mark.parametrize("stop", ["evaluation", "freezing"])
def test_the_range_stands_still_in_evaluation_and_when_frozen(activations, stop):
    quantizer = activation_quantizer()
    quantizer(activations)
    if stop == "evaluation":
        quantizer.eval()
    else:
        quantizer.disable_observer()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(100 * activations)
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


def test_the_range_always_holds_zero():
    quantizer = activation_quantizer()
    rounded = quantizer(torch.tensor([3.0, 5.0]))
    assert quantizer.calculate_qparams()[1].item() == 0
    assert rounded.max().item() == pytest.approx(5.0)
    assert quantizer.eval()(torch.zeros(1)).item() == 0.0


@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.5), (-0.5, 1.0), (-3.0, 0.0), (-1e-3, 2.0)])
def test_a_symmetric_grid_has_its_zero_point_in_the_middle_and_covers_the_range(low, high):
    quantizer = activation_quantizer(qscheme=torch.per_tensor_symmetric)
    ends = torch.tensor([low, high])
    rounded = quantizer(ends)
    scale, zero_point = quantizer.calculate_qparams()
    assert zero_point.item() == 128
    torch.testing.assert_close(rounded, ends, rtol=0, atol=scale.item() / 2 * (1 + 1e-5))
    # The very scale of signed bytes, which reach from -128 to 127.
    assert scale.item() == pytest.approx(max(-low / 128, high / 127))
    assert quantizer.eval()(torch.zeros(1)).item() == 0.0
    signed = torch.fake_quantize_per_tensor_affine(ends, scale.item(), 0, -128, 127)
    torch.testing.assert_close(rounded, signed)


def test_what_is_never_below_zero_keeps_all_its_numbers_on_a_symmetric_grid(activations):
    quantizer = activation_quantizer(qscheme=torch.per_tensor_symmetric)
    positive = activations.relu()
    assert torch.equal(quantizer(positive), activation_quantizer()(positive))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_diverged_training_is_reported_rather_than_remembered(value):
    quantizer = activation_quantizer()
    with pytest.raises(FloatingPointError, match="diverged"):
        quantizer(torch.tensor([0.0, value]))
    assert quantizer.observations.item() == 0


@pytest.mark.parametrize("qscheme", [torch.per_tensor_affine, torch.per_tensor_symmetric])
@pytest.mark.parametrize("shift", [-9.0, -0.2, 0.0, 0.5, 9.0])
def test_on_another_device_all_is_as_here(shift, qscheme):
    """Its code, which reads no value, is run here on tensors of the CPU."""
    here, there = (activation_quantizer(0.3, qscheme) for _ in range(2))
    generator = torch.Generator().manual_seed(2)
    for _ in range(5):
        mine = (3 * torch.randn(40, 7, generator=generator) + shift).requires_grad_()
        other = mine.detach().clone().requires_grad_()
        upstream = torch.randn(40, 7, generator=generator)
        rounded = here(mine)
        there._observe_there(other.detach())
        assert torch.equal(there._round_there(other), rounded)
        rounded.backward(upstream)
        there._round_there(other).backward(upstream)
        assert torch.equal(other.grad, mine.grad)
        for name, value in here.state_dict().items():
            assert torch.equal(there.state_dict()[name], value), name
    mine, other = (torch.linspace(-30, 30, 999).requires_grad_() for _ in range(2))
    here.eval()(mine).sum().backward()
    there._round_there(other).sum().backward()
    assert torch.equal(other.grad, mine.grad)
    assert 0 < (mine.grad == 0).sum() < 999


def test_what_has_fewer_bits_is_rounded_by_the_very_scale_of_the_file():
    quantizer = activation_quantizer()
    x = torch.randn(500, generator=torch.Generator().manual_seed(3)).bfloat16()
    quantizer._observe_there(x)
    assert torch.equal(quantizer._round_there(x), quantizer._round_there(x.float()).bfloat16())


def test_rounding_can_be_switched_off(activations, weight):
    for quantizer, tensor in [(activation_quantizer(), activations), (weight_quantizer(), weight)]:
        quantizer.disable_fake_quant()
        assert quantizer(tensor) is tensor


def test_a_dead_channel_stays_dead_with_a_usable_scale(weight):
    weight[2] = 0
    quantizer = weight_quantizer()
    rounded = quantizer(weight)
    scale, zero_point = quantizer.calculate_qparams()
    assert torch.equal(rounded[2], torch.zeros_like(rounded[2]))
    assert scale[2].item() == SMALLEST_SCALE
    assert zero_point.tolist() == [0] * 6


def test_a_pruned_weight_gets_no_gradient_and_every_other_gets_it_whole(weight):
    weight[:, 0] = 0
    weight.requires_grad_()
    upstream = torch.randn_like(weight)
    weight_quantizer()(weight).backward(upstream)
    assert torch.equal(weight.grad[:, 0], torch.zeros_like(weight.grad[:, 0]))
    assert torch.equal(weight.grad[:, 1:], upstream[:, 1:])


def test_bfloat16_activations_stay_bfloat16(activations):
    rounded = activation_quantizer()(activations.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (rounded - activations).abs().max() < 0.05
