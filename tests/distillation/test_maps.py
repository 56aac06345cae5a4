import numpy as np
import pytest
import torch

from model_compression.distillation.maps import SumOverLayers, at_least_float32, same_size
from model_compression.distillation.method import Observed


def test_the_larger_map_is_averaged_down_to_the_smaller():
    large = torch.arange(32, dtype=torch.float64).reshape(1, 2, 4, 4)
    small = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    expected = large.numpy().reshape(1, 2, 2, 2, 2, 2).mean(axis=(3, 5))
    for pooled, other in (same_size(large, small), same_size(small, large)[::-1]):
        np.testing.assert_allclose(pooled.numpy(), expected)
        assert torch.equal(other, small)


def test_maps_of_different_aspect_meet_at_the_smaller_height_and_width():
    student, teacher = same_size(torch.randn(2, 3, 8, 3), torch.randn(2, 5, 4, 6))
    assert student.shape == (2, 3, 4, 3)
    assert teacher.shape == (2, 5, 4, 3)


def test_only_the_students_map_keeps_its_gradient():
    student = torch.randn(1, 2, 4, 4, requires_grad=True)
    teacher = torch.randn(1, 2, 2, 2, requires_grad=True)
    pooled, target = same_size(student, teacher)
    assert pooled.requires_grad
    assert not target.requires_grad


@pytest.mark.parametrize(
    ("given", "widened"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_widened_and_nothing_is_narrowed(given, widened):
    assert at_least_float32(torch.zeros(1, dtype=given)).dtype == widened


def test_a_missing_layer_is_not_silently_left_out():
    transfer = SumOverLayers(torch.nn.functional.mse_loss, 1.0)
    logits, layer = torch.zeros(2, 3), torch.zeros(2, 1, 2, 2)
    with pytest.raises(ValueError, match="zip"):
        transfer(Observed(logits, (layer, layer)), Observed(logits, (layer,)), None)
