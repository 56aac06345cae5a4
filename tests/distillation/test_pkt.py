import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_compression.distillation.pkt import PktSettings, pkt_loss
from model_compression.distillation.relation import embeddings

SEEDS = st.integers(0, 2**31)


def clouds(seed: int, n: int = 6, student: int = 3, teacher: int = 5):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, width, generator=generator) for width in (student, teacher)]


def rotation(width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(width, width, generator=generator))[0]


def numpy_loss(student, teacher):
    def probabilities(x):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        kernel = (x @ x.T + 1) / 2
        np.fill_diagonal(kernel, 0)
        return kernel / kernel.sum(axis=1, keepdims=True)

    p, q = probabilities(teacher), probabilities(student)
    off = ~np.eye(len(p), dtype=bool)
    return (p[off] * np.log(p[off] / q[off])).sum() / len(p)


@given(seed=SEEDS, width=st.integers(2, 9))
def test_pkt_is_the_formula_written_in_numpy(seed, width):
    student, teacher = clouds(seed, student=width)
    # Opposite vectors have a probability of 0, and NumPy no floor.
    student[:, 0] += 3
    teacher[:, 0] += 3
    expected = numpy_loss(student.double().numpy(), teacher.double().numpy())
    assert pkt_loss(student, teacher).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(seed=SEEDS)
def test_embeddings_at_the_same_angles_cost_nothing_whatever_their_lengths(seed):
    student, _ = clouds(seed)
    lengths = torch.logspace(-3, 3, 6)[:, None]
    assert pkt_loss(student, lengths * student @ rotation(3)).item() == pytest.approx(0, abs=1e-5)


def test_embeddings_at_other_angles_cost_something():
    assert pkt_loss(*clouds(0)).item() > 0.01


@given(seed=SEEDS)
def test_pkt_is_blind_to_lengths_rotation_and_order(seed):
    student, teacher = clouds(seed)
    expected = pytest.approx(pkt_loss(student, teacher).item(), rel=1e-3, abs=1e-5)
    lengths = torch.logspace(-2, 2, 6)[:, None]
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    assert pkt_loss(lengths * student @ rotation(3), teacher).item() == expected
    assert pkt_loss(student, lengths * teacher @ rotation(5)).item() == expected
    assert pkt_loss(student[order], teacher[order]).item() == expected


def test_a_batch_that_comes_twice_over_costs_about_the_same():
    # What the weight's default relies on: the loss does not shrink as 1/N like a mean over pairs.
    student, teacher = clouds(1, n=64)
    once = pkt_loss(student, teacher).item()
    twice = pkt_loss(student.repeat(2, 1), teacher.repeat(2, 1)).item()
    assert twice == pytest.approx(once, rel=0.05)


def test_opposite_and_extreme_embeddings_in_bfloat16_are_finite():
    student = torch.tensor([[1e4, 0], [-1e4, 0], [0, 1]], dtype=torch.bfloat16).requires_grad_()
    teacher = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, -1e4]], dtype=torch.bfloat16)
    loss = pkt_loss(student, teacher)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("n", [1, 6])
def test_embeddings_of_zero_and_a_single_one_are_finite(n):
    student, teacher = clouds(2, n=n)
    student[0] = 0
    student.requires_grad_()
    loss = pkt_loss(student, teacher)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()
    assert student.grad[0].abs().max() == 0


def test_gradient_goes_into_the_student_alone():
    student, teacher = (each.requires_grad_() for each in clouds(3))
    pkt_loss(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_objective_is_labels_plus_pkt_of_what_both_networks_show(pair, batch):
    settings = PktSettings(method="pkt")
    objective = settings.objective(pair)
    student = pair.student.eval()
    shown = [objective._taps.observe(student, batch.images), pair.teacher.observe(batch)]
    output = objective(batch, student)
    hard = torch.nn.functional.cross_entropy(output.logits, batch.labels)
    torch.testing.assert_close(output.loss, hard + 470.0 * pkt_loss(*embeddings(*shown)))
