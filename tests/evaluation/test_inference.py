import numpy as np
import pytest
import torch
from torch import nn

from model_compression.evaluation import predict_logits, score
from model_compression.images import Batches, ImageSet, Normalization


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(400, 3)
    )


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_logits_come_in_the_sets_order_whatever_the_batch_size(
    module: nn.Module,
    tiny_images: ImageSet,
    tiny_normalization: Normalization,
    batch_size: int,
):
    logits = predict_logits(module, tiny_images, tiny_normalization, batch_size)
    module.eval()
    images = tiny_normalization.apply(torch.from_numpy(tiny_images.images[:]))
    with torch.no_grad():
        expected = module(images).numpy()
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_the_score_is_accuracy_and_mean_loss_over_all_images(
    module: nn.Module, tiny_images: ImageSet, tiny_normalization: Normalization
):
    batches = Batches(tiny_images, tiny_normalization, batch_size=36, device="cpu", shuffle=False)
    result = score(module, batches)
    logits = torch.from_numpy(predict_logits(module, tiny_images, tiny_normalization))
    labels = torch.from_numpy(tiny_images.labels)
    assert result.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert result.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item())


def test_the_module_is_judged_in_evaluation_mode_and_left_in_its_own(
    module: nn.Module, tiny_images: ImageSet, tiny_normalization: Normalization
):
    batches = Batches(tiny_images, tiny_normalization, batch_size=96, device="cpu", shuffle=False)
    assert score(module, batches) == score(module, batches)
    assert module.training
    assert module[1].num_batches_tracked == 0


def test_a_score_under_autocast_is_computed_in_float32(
    module: nn.Module, tiny_images: ImageSet, tiny_normalization: Normalization
):
    batches = Batches(tiny_images, tiny_normalization, batch_size=96, device="cpu", shuffle=False)
    exact = score(module, batches)
    with torch.autocast("cpu", torch.bfloat16):
        assert score(module, batches).loss == pytest.approx(exact.loss, rel=0.02)
