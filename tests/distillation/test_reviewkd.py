import numpy as np
import pytest
import torch

from model_compression.distillation.method import Observed
from model_compression.distillation.reviewkd import AttentionFusion, ReviewKdSettings, hcl_loss
from model_compression.distillation.transfer import Probe
from model_compression.images import Batch


def pooled(maps: np.ndarray, size: int) -> np.ndarray:
    block = maps.shape[2] // size
    return maps.reshape(*maps.shape[:2], size, block, size, block).mean(axis=(3, 5))


# 8: own size, 4, 2, 1; 4: own size, 2, 1; and so on.
@pytest.mark.parametrize("side", [8, 4, 2, 1])
def test_hcl_is_the_formula_written_in_numpy(side):
    student, teacher = torch.randn(2, 3, 2, side, side, dtype=torch.float64).numpy()
    sizes = [side] + [size for size in (4, 2, 1) if size < side]
    weights = 0.5 ** np.arange(len(sizes))
    squares = [np.mean((pooled(student, s) - pooled(teacher, s)) ** 2) for s in sizes]
    expected = (weights * squares).sum() / weights.sum()
    measured = hcl_loss(torch.from_numpy(student), torch.from_numpy(teacher))
    assert measured.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [(7, 7), (3, 3), (6, 2), (1, 5)])
def test_hcl_is_zero_at_equality_and_one_at_a_shift_by_one_for_any_size(size):
    maps = torch.randn(2, 3, *size)
    assert hcl_loss(maps, maps).item() == 0
    assert hcl_loss(maps + 1, maps).item() == pytest.approx(1, rel=1e-5)


def test_hcl_is_finite_in_bfloat16_at_extremes():
    student = torch.full((2, 3, 5, 5), 1e4, dtype=torch.bfloat16, requires_grad=True)
    loss = hcl_loss(student, -student.detach())
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_fusion_is_the_attention_of_both_maps_stacked():
    torch.manual_seed(0)
    fusion = AttentionFusion(3, 4, deepest=False)
    level, deeper = torch.randn(2, 3, 4, 4), torch.randn(2, 4, 2, 2)
    with torch.no_grad():
        fused = fusion(level, deeper).numpy()
        projected = fusion.project(level).numpy()
    enlarged = deeper.numpy().repeat(2, axis=2).repeat(2, axis=3)
    kernel = np.concatenate(
        [layer.weight.detach().numpy()[:, :, 0, 0] for layer in (fusion.own, fusion.others)], axis=1
    )
    stacked = np.concatenate([projected, enlarged], axis=1)
    scores = np.einsum("oc,nchw->nohw", kernel, stacked)
    scores += fusion.own.bias.detach().numpy()[:, None, None]
    z = 1 / (1 + np.exp(-scores))
    expected = z[:, :1] * projected + z[:, 1:] * enlarged
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)


def seen(*maps: torch.Tensor) -> Observed:
    return Observed(torch.zeros(4, 2), maps)


def batch(epoch: int) -> Batch:
    return Batch(torch.zeros(4, 1, 8, 8), torch.zeros(4).long(), torch.arange(4), epoch)


def test_a_shallow_level_is_reviewed_with_the_deeper_ones_and_not_the_other_way_round():
    shallow = torch.randn(4, 2, 8, 8, requires_grad=True)
    deep = torch.randn(4, 3, 4, 4, requires_grad=True)
    teacher = seen(torch.randn(4, 5, 8, 8), torch.randn(4, 6, 4, 4))
    transfer = ReviewKdSettings(method="reviewkd", mid_channels=4).transfer(
        Probe(seen(shallow, deep), teacher, torch.zeros(4))
    )

    def reached(target: int) -> list[bool]:
        for output in transfer.outputs:
            output.requires_grad_(requires_grad=False)
        maps = [map_.clone() for map_ in (shallow, deep)]
        deepest = transfer.fusions[1](maps[1], None)
        fused = (transfer.fusions[0](maps[0], deepest), deepest)[target]
        gradients = torch.autograd.grad(fused.square().sum(), (shallow, deep), allow_unused=True)
        return [gradient is not None for gradient in gradients]

    assert reached(0) == [True, True]
    assert reached(1) == [False, True]


def test_the_weight_grows_over_the_first_epochs():
    student, teacher = seen(torch.randn(4, 2, 4, 4)), seen(torch.randn(4, 3, 4, 4))
    settings = ReviewKdSettings(method="reviewkd", warmup_epochs=4, mid_channels=4)
    transfer = settings.transfer(Probe(student, teacher, torch.zeros(4)))
    losses = torch.stack([transfer(student, teacher, batch(epoch)) for epoch in range(6)])
    torch.testing.assert_close(losses / losses[-1], torch.tensor([0.25, 0.5, 0.75, 1.0, 1.0, 1.0]))
