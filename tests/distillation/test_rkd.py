import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_compression.distillation.rkd import (
    RkdSettings,
    rkd_angle_loss,
    rkd_distance_loss,
    rkd_loss,
)

SEEDS = st.integers(0, 2**31)
LOSSES = pytest.mark.parametrize("loss", [rkd_distance_loss, rkd_angle_loss])


def clouds(seed: int, n: int = 6, student: int = 3, teacher: int = 5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, student, generator=generator), torch.randn(
        n, teacher, generator=generator
    )


def rotation(width: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(
        torch.randn(width, width, generator=torch.Generator().manual_seed(seed))
    )[0]


def huber(x):
    return np.where(np.abs(x) <= 1, x**2 / 2, np.abs(x) - 0.5)


def numpy_distance_loss(student, teacher):
    def potentials(x):
        d = np.array([np.linalg.norm(a - b) for a, b in itertools.combinations(x, 2)])
        return d / d.mean()

    return huber(potentials(student) - potentials(teacher)).mean()


def numpy_angle_loss(student, teacher):
    def cosine(x, i, j, k):
        a, b = x[i] - x[j], x[k] - x[j]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    triplets = list(itertools.permutations(range(len(student)), 3))
    apart = [cosine(student, *ijk) - cosine(teacher, *ijk) for ijk in triplets]
    return huber(np.array(apart)).mean()


@given(seed=SEEDS, width=st.integers(1, 9))
def test_rkd_is_the_formula_written_in_numpy(seed, width):
    student, teacher = clouds(seed, student=width)
    far = 20 * student  # some differences of cosines and distances on both sides of Huber's 1
    far[0] += 100
    distance = numpy_distance_loss(far.double().numpy(), teacher.double().numpy())
    angle = numpy_angle_loss(far.double().numpy(), teacher.double().numpy())
    assert rkd_distance_loss(far, teacher).item() == pytest.approx(distance, rel=1e-4, abs=1e-6)
    assert rkd_angle_loss(far, teacher).item() == pytest.approx(angle, rel=1e-4, abs=1e-6)
    assert rkd_loss(far, teacher, 25.0, 50.0).item() == pytest.approx(
        25 * distance + 50 * angle, rel=1e-4, abs=1e-5
    )


@LOSSES
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_similar_point_clouds_cost_nothing(loss, seed, scale):
    student, _ = clouds(seed)
    similar = scale * student @ rotation(3) + 2.0 * scale
    assert loss(student, similar).item() == pytest.approx(0, abs=1e-6)


@LOSSES
def test_clouds_of_different_shape_cost_something(loss):
    assert loss(*clouds(0)).item() > 0.01


@LOSSES
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_rkd_is_blind_to_scale_position_and_rotation_of_either_network(loss, seed, scale):
    student, teacher = clouds(seed)
    expected = loss(student, teacher).item()
    turned = scale * (student @ rotation(3) + 1.5)
    assert loss(turned, teacher).item() == pytest.approx(expected, rel=1e-3, abs=1e-5)
    turned = scale * (teacher @ rotation(5) + 1.5)
    assert loss(student, turned).item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


@LOSSES
@given(seed=SEEDS)
def test_order_of_the_batch_does_not_matter(loss, seed):
    student, teacher = clouds(seed)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    expected = loss(student, teacher).item()
    assert loss(student[order], teacher[order]).item() == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )


@LOSSES
def test_empty_dimensions_change_neither_loss_nor_gradient(loss):
    narrow, teacher = clouds(3)
    narrow.requires_grad_()
    wide = torch.nn.functional.pad(narrow.detach(), (0, 20)) @ rotation(23)
    wide.requires_grad_()
    losses = [loss(each, teacher) for each in (narrow, wide)]
    for each in losses:
        each.backward()
    torch.testing.assert_close(losses[0], losses[1])
    back = wide.grad @ rotation(23).T
    torch.testing.assert_close(back[:, :3], narrow.grad, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(back[:, 3:], torch.zeros(6, 20), atol=1e-6, rtol=0)


@LOSSES
@pytest.mark.parametrize("width", [3, 12])
def test_gradient_is_that_of_finite_differences(loss, width):
    student, teacher = clouds(1, student=width)
    student.requires_grad_()
    loss(student, teacher).backward()
    direction = torch.randn(6, width, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        step = 1e-2
        ahead, behind = (loss(student + sign * step * direction, teacher) for sign in (1, -1))
    slope = (ahead - behind).item() / (2 * step)
    assert (student.grad * direction).sum().item() == pytest.approx(slope, rel=2e-2, abs=1e-4)


@LOSSES
def test_gradient_is_small_where_points_coincide(loss):
    student, teacher = clouds(4)
    student[3] = student[1]
    student.requires_grad_()
    loss(student, teacher).backward()
    assert torch.isfinite(student.grad).all()
    assert 0 < student.grad.abs().max() < 10


@LOSSES
def test_a_batch_of_one_point_repeated_is_finite(loss):
    _, teacher = clouds(4)
    student = torch.ones(6, 3, requires_grad=True)
    value = loss(student, teacher)
    value.backward()
    assert torch.isfinite(value)
    assert torch.equal(student.grad, torch.zeros(6, 3))


@LOSSES
@pytest.mark.parametrize("n", [1, 2])
def test_fewer_points_than_a_relation_has_cost_nothing(loss, n):
    student, teacher = clouds(5, n=n)
    student.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.item() == 0  # two points have one distance, which is its own mean
    assert torch.isfinite(student.grad).all()


@LOSSES
def test_extreme_embeddings_in_bfloat16_are_finite(loss):
    student, teacher = clouds(6)
    student[0], teacher[1] = 1e4, -1e4
    student = student.bfloat16().requires_grad_()
    value = loss(student, teacher.bfloat16())
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_teacher_gets_no_gradient():
    student, teacher = clouds(7)
    student.requires_grad_()
    teacher.requires_grad_()
    rkd_loss(student, teacher, 25.0, 50.0).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_defaults_are_those_of_the_literature():
    settings = RkdSettings(method="rkd")
    assert (settings.weight, settings.distance, settings.angle) == (1.0, 25.0, 50.0)


def test_a_relation_without_any_weight_is_refused():
    with pytest.raises(ValidationError, match=r"distance and angle are both 0"):
        RkdSettings(method="rkd", distance=0, angle=0)


def test_objective_is_labels_plus_rkd_of_what_both_networks_show(pair, batch):
    objective = RkdSettings(method="rkd", weight=2.0).objective(pair)
    pair.student.eval()
    output = objective(batch, pair.student)
    shown = {}
    for name, network in (("student", pair.student), ("teacher", pair.teacher.module)):
        network.classifier.register_forward_pre_hook(
            lambda module, inputs, name=name: shown.update({name: inputs[0]})
        )
        network(batch.images)
    hard = torch.nn.functional.cross_entropy(output.logits, batch.labels)
    expected = hard + 2.0 * rkd_loss(shown["student"], shown["teacher"], 25.0, 50.0)
    torch.testing.assert_close(output.loss, expected)
