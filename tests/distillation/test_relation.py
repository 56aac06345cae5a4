import pytest
import torch

from model_compression.distillation.method import DistillationError, Observed
from model_compression.distillation.relation import RelationTransfer, embeddings, unit


def test_unit_vectors_have_length_one():
    vectors = torch.randn(5, 7) * 100
    torch.testing.assert_close(unit(vectors).norm(dim=1), torch.ones(5))


def test_a_vector_without_a_direction_stays_zero_and_gets_no_gradient():
    vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    units = unit(vectors)
    (units * torch.tensor([[1.0, 1.0], [1.0, 0.0]])).sum().backward()
    assert units.tolist() == [[0.0, 0.0], pytest.approx([0.6, 0.8])]
    assert vectors.grad[0].tolist() == [0.0, 0.0]
    # d(x/r)/dx = y²/r³ and d(x/r)/dy = -xy/r³.
    assert vectors.grad[1].tolist() == pytest.approx([16 / 125, -12 / 125])


def test_a_network_whose_embedding_was_not_observed_is_named():
    seen, unseen = Observed(torch.zeros(2, 3), (), torch.zeros(2, 4)), Observed(torch.zeros(2, 3))
    with pytest.raises(DistillationError, match=r"the teacher's was not observed"):
        embeddings(seen, unseen)
    with pytest.raises(DistillationError, match=r"the student's was not observed"):
        embeddings(unseen, seen)


def test_a_relation_is_weighed_and_gives_the_teacher_no_gradient(batch):
    student, teacher = torch.randn(8, 4, requires_grad=True), torch.randn(8, 6, requires_grad=True)
    transfer = RelationTransfer(lambda s, t: s.sum() + t.sum(), weight=3.0)
    logits = torch.zeros(8, 3)
    loss = transfer(Observed(logits, (), student), Observed(logits, (), teacher), batch)
    loss.backward()
    torch.testing.assert_close(loss.detach(), 3 * (student.sum() + teacher.sum()).detach())
    assert torch.equal(student.grad, torch.full((8, 4), 3.0))
    assert teacher.grad is None
    assert list(transfer.parameters()) == []
