import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_compression.distillation.crd import CrdSettings, crd_loss
from model_compression.distillation.method import DistillationError, Observed
from model_compression.distillation.relation import unit
from model_compression.distillation.transfer import Probe
from model_compression.images import Batch

SEEDS = st.integers(0, 2**31)


def drawn(seed: int, n: int = 4, m: int = 7, width: int = 5):
    generator = torch.Generator().manual_seed(seed)
    vectors = [unit(torch.randn(k, width, generator=generator)) for k in (n, n, m)]
    is_other = torch.rand(n, m, generator=generator) < 0.7
    is_other[:, 0] = True
    return *vectors, is_other


def numpy_loss(anchors, positives, negatives, temperature, z, images):
    """The paper's loss with its own h, for negatives that are the same number for each anchor."""
    m = negatives.shape[1]

    def h(similarity):
        p = np.exp(similarity / temperature) / z
        return p / (p + m / images)

    near = np.log(h((anchors * positives).sum(1)))
    far = np.log(1 - h(np.einsum("nd,nmd->nm", anchors, negatives))).sum(1)
    return -(near + far).mean()


@given(seed=SEEDS, temperature=st.floats(0.3, 3), mean=st.floats(0.3, 5))
def test_crd_is_the_papers_formula_written_in_numpy(seed, temperature, mean):
    anchors, positives, negatives, _ = drawn(seed)
    images = 1000  # N drops out: Z is N times the mean
    expected = numpy_loss(
        anchors.double().numpy(),
        positives.double().numpy(),
        np.broadcast_to(negatives.double().numpy(), (4, 7, 5)),
        temperature,
        images * mean,
        images,
    )
    measured = crd_loss(
        anchors,
        positives,
        negatives,
        torch.ones(4, 7, dtype=torch.bool),
        temperature=temperature,
        count=7,
        log_mean=float(np.log(mean)),
    )
    assert measured.item() == pytest.approx(expected, rel=1e-4)


def test_images_of_the_anchors_class_are_no_negatives():
    anchors, positives, negatives, is_other = drawn(0)
    options = {"temperature": 0.5, "count": 7, "log_mean": 0.3}
    expected = crd_loss(anchors, positives, negatives, is_other, **options)
    for row in range(4):
        alone = slice(row, row + 1)
        others = negatives[is_other[row]]
        # An anchor's own negatives, each as often as makes m of them.
        repeated = others.repeat(7, 1)
        share = crd_loss(
            anchors[alone],
            positives[alone],
            repeated,
            torch.ones(1, len(repeated), dtype=torch.bool),
            **options,
        )
        expected = expected - share / 4
    torch.testing.assert_close(expected, torch.tensor(0.0), atol=1e-5, rtol=0)


def test_shared_negatives_have_the_expectation_of_each_anchors_own():
    generator = torch.Generator().manual_seed(0)
    memory = unit(torch.randn(60, 5, generator=generator))
    labels = torch.arange(60) % 4
    anchors, positives = (unit(torch.randn(8, 5, generator=generator)) for _ in range(2))
    own = torch.arange(8) % 4
    options = {"temperature": 0.5, "count": 16, "log_mean": 0.1}
    shared, separate = [], []
    for _ in range(3000):
        rows = torch.randint(60, (16,), generator=generator)
        is_other = labels[rows] != own[:, None]
        shared.append(crd_loss(anchors, positives, memory[rows], is_other, **options))
    for anchor in range(8):
        others = memory[labels != own[anchor]]
        # The exact expectation of 16 independent draws: all others, weighed as 16.
        everyone = torch.ones(1, len(others), dtype=torch.bool)
        alone = slice(anchor, anchor + 1)
        separate.append(crd_loss(anchors[alone], positives[alone], others, everyone, **options))
    values = torch.stack(shared)
    standard_error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - torch.stack(separate).mean()) < 4 * standard_error
    assert standard_error < 0.01


def test_the_loss_falls_towards_the_positive_and_away_from_negatives():
    anchors, positives, negatives, is_other = drawn(1)
    options = {"temperature": 0.07, "count": 7, "log_mean": 1.0}
    at_random = crd_loss(anchors, positives, negatives, is_other, **options)
    aligned = crd_loss(positives, positives, negatives, is_other, **options)
    on_negative = crd_loss(negatives[:1].repeat(4, 1), positives, negatives, is_other, **options)
    assert aligned < at_random < on_negative


def test_anchors_alone_get_the_gradient():
    anchors, positives, negatives, is_other = drawn(2)
    for each in (anchors, positives, negatives):
        each.requires_grad_()
    crd_loss(
        anchors, positives, negatives, is_other, temperature=0.07, count=7, log_mean=0.0
    ).backward()
    assert anchors.grad.abs().sum() > 0
    assert positives.grad is None
    assert negatives.grad is None


def test_a_sharp_temperature_is_finite_in_bfloat16():
    anchors, positives, negatives, is_other = drawn(3)
    anchors = anchors.bfloat16().requires_grad_()
    loss = crd_loss(
        anchors,
        positives.bfloat16(),
        negatives.bfloat16(),
        is_other,
        temperature=1e-4,
        count=7,
        log_mean=0.0,
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(anchors.grad).all()


def test_an_anchor_without_negatives_is_drawn_to_its_positive_only():
    anchors, positives, negatives, _ = drawn(4)
    nobody = torch.zeros(4, 7, dtype=torch.bool)
    loss = crd_loss(anchors, positives, negatives, nobody, temperature=0.5, count=7, log_mean=0.0)
    nearness = (anchors * positives).sum(1) / 0.5 - np.log(7)
    torch.testing.assert_close(loss, torch.nn.functional.softplus(-nearness).mean())


LABELS = torch.arange(40) % 4


def transfer_of(seed: int = 0, **changes):
    torch.manual_seed(seed)
    settings = CrdSettings(method="crd", **({"negatives": 32, "width": 8} | changes))
    return settings.transfer(Probe(observed(6, n=2), observed(10, n=2), LABELS))


def observed(width: int, n: int = 5, requires_grad: bool = False) -> Observed:
    embedding = torch.randn(n, width).requires_grad_(requires_grad)
    return Observed(torch.zeros(n, 4), (), embedding)


def a_batch() -> Batch:
    indices = torch.tensor([3, 17, 8, 30, 21])
    return Batch(torch.zeros(5, 1, 4, 4), LABELS[indices], indices, epoch=0)


def test_gradient_reaches_student_and_projections_but_not_the_teacher():
    transfer = transfer_of()
    student, teacher = observed(6, requires_grad=True), observed(10, requires_grad=True)
    transfer(student, teacher, a_batch()).backward()
    assert student.embedding.grad.abs().sum() > 0
    assert teacher.embedding.grad is None
    names = {name for name, _ in transfer.named_parameters()}
    sides = ("student_projection", "teacher_projection")
    assert names == {f"{side}.{part}" for side in sides for part in ("weight", "bias")}
    assert all(parameter.grad.abs().sum() > 0 for parameter in transfer.parameters())


def test_the_transfer_is_the_loss_of_both_networks_as_anchors():
    transfer = transfer_of(weight=0.5)
    student, teacher, batch = observed(6), observed(10), a_batch()
    memories = [transfer.student_memory.float(), transfer.teacher_memory.float()]
    torch.manual_seed(9)
    rows = torch.randint(40, (32,))
    torch.manual_seed(9)
    measured = transfer(student, teacher, batch)
    expected = 0
    anchors = [
        unit(transfer.student_projection(student.embedding)),
        unit(transfer.teacher_projection(teacher.embedding)),
    ]
    for each, other in zip(anchors, reversed(memories), strict=True):
        similarities = each @ other[rows].T / 0.07
        expected = expected + crd_loss(
            each,
            other[batch.indices],
            other[rows],
            LABELS[rows] != batch.labels[:, None],
            temperature=0.07,
            count=32,
            log_mean=similarities.exp().mean().log(),
        )
    torch.testing.assert_close(measured, 0.5 * expected)


def test_memories_move_towards_what_was_seen_by_the_momentum():
    transfer = transfer_of(momentum=0.25)
    student, teacher, batch = observed(6), observed(10), a_batch()
    before = transfer.student_memory.float()
    transfer(student, teacher, batch)
    seen = unit(transfer.student_projection(student.embedding)).detach()
    expected = unit(0.25 * before[batch.indices] + 0.75 * seen)
    torch.testing.assert_close(
        transfer.student_memory[batch.indices].float(), expected, atol=1e-3, rtol=0
    )
    others = torch.ones(40, dtype=torch.bool)
    others[batch.indices] = False
    assert torch.equal(transfer.student_memory[others].float(), before[others])


def test_the_normaliser_is_that_of_the_first_batch():
    transfer = transfer_of()
    assert transfer.log_means.isnan().all()
    transfer(observed(6), observed(10), a_batch())
    first = transfer.log_means.clone()
    transfer(observed(6), observed(10), a_batch())
    assert first.isfinite().all()
    assert torch.equal(transfer.log_means, first)


def test_a_resumed_transfer_goes_on_with_the_same_memories():
    transfer, resumed = transfer_of(0), transfer_of(1)
    transfer(observed(6), observed(10), a_batch())
    resumed.load_state_dict(transfer.state_dict())
    student, teacher = observed(6), observed(10)
    losses = []
    for each in (transfer, resumed):
        torch.manual_seed(5)
        losses.append(each(student, teacher, a_batch()))
    assert torch.equal(*losses)


def test_the_state_is_half_precision_memories_without_the_labels():
    state = transfer_of().state_dict()
    assert "labels" not in state
    assert state["student_memory"].dtype == state["teacher_memory"].dtype == torch.float16
    assert state["student_memory"].shape == (40, 8)


def test_a_single_class_has_nothing_to_contrast():
    probe = Probe(observed(6, n=2), observed(10, n=2), torch.zeros(40, dtype=torch.int64))
    with pytest.raises(DistillationError, match=r"all training images are of one"):
        CrdSettings(method="crd").transfer(probe)
