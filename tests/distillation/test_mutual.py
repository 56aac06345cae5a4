from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax
from torch.nn import functional

from model_compression.distillation import Pair
from model_compression.distillation.mutual import MutualSettings, mutual_loss
from model_compression.models import Checkpoint, ModelError, ModelSettings, build_model
from model_compression.training import Trainee, TrainingSettings, fit

LOGITS = arrays(np.float32, (4, 5), elements=st.floats(-30, 30, width=32))
SPEC = ModelSettings(name="resnet8", options={"width": 4}).spec((1, 12, 12), 3)


@given(student=LOGITS, peer=LOGITS, temperature=st.floats(0.5, 10), weight=st.floats(0.1, 3))
def test_mutual_learning_is_the_formula_written_in_numpy(student, peer, temperature, weight):
    labels = np.array([0, 3, 1, 4])
    log_p = log_softmax(peer.astype(float) / temperature, axis=1)
    log_q = log_softmax(student.astype(float) / temperature, axis=1)
    divergence = (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
    hard = -log_softmax(student.astype(float), axis=1)[np.arange(4), labels].mean()
    expected = hard + weight * temperature**2 * divergence
    measured = mutual_loss(
        torch.from_numpy(student),
        torch.from_numpy(peer),
        torch.from_numpy(labels),
        temperature,
        weight,
    )
    assert measured.item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(logits=LOGITS)
def test_between_equals_only_the_labels_count(logits):
    same, labels = torch.from_numpy(logits), torch.tensor([0, 3, 1, 4])
    expected = functional.cross_entropy(same, labels).item()
    assert mutual_loss(same, same.clone(), labels, 1.0, 1.0).item() == pytest.approx(
        expected, abs=1e-4
    )


def test_gradient_goes_into_the_learner_alone():
    learner, other = (torch.randn(4, 5, requires_grad=True) for _ in range(2))
    mutual_loss(learner, other, torch.tensor([0, 3, 1, 4]), 1.0, 1.0).backward()
    assert learner.grad.abs().sum() > 0
    assert other.grad is None


def test_extreme_logits_in_bfloat16_are_finite():
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    peer = torch.tensor([[-1e4, 1e4, 0.0]], dtype=torch.bfloat16)
    loss = mutual_loss(student, peer, torch.tensor([0]), 1.0, 1.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


class NeverAsked:
    """A teacher that nobody may ask."""

    def __getattr__(self, name: str):
        raise AssertionError(f"the teacher was asked for {name}")


@pytest.fixture
def pair(batch) -> Pair:
    torch.manual_seed(0)
    return Pair(NeverAsked(), build_model(SPEC), SPEC, batch.labels)


def test_the_peer_is_of_the_students_architecture_with_other_weights(pair):
    objective = MutualSettings(method="mutual").objective(pair)
    ours, peers = pair.student.state_dict(), objective.peer.state_dict()
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in peers.items()
    }
    assert not torch.equal(ours["stem.weight"], peers["stem.weight"])


def test_the_peer_may_be_of_another_architecture(pair, batch):
    settings = MutualSettings(method="mutual", peer={"name": "net"})
    objective = settings.objective(pair)
    assert type(objective.peer).__name__ == "Net"
    assert objective.peer(batch.images).shape == (8, 3)


def test_a_peer_that_does_not_fit_the_images_is_refused(pair):
    small = replace(pair, spec=SPEC.model_copy(update={"input_shape": (1, 8, 8)}))
    with pytest.raises(ModelError, match="net needs images"):
        MutualSettings(method="mutual", peer={"name": "net"}).objective(small)


def test_the_loss_is_the_sum_of_what_both_learn(pair, batch):
    settings = MutualSettings(method="mutual", temperature=2.0, weight=0.5)
    objective = settings.objective(pair).eval()
    output = objective(batch, pair.student.eval())
    ours, peers = pair.student(batch.images), objective.peer(batch.images)
    expected = mutual_loss(ours, peers, batch.labels, 2.0, 0.5) + mutual_loss(
        peers, ours, batch.labels, 2.0, 0.5
    )
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.logits, ours)


def test_each_network_gets_the_gradient_of_its_own_loss(pair, batch):
    objective = MutualSettings(method="mutual").objective(pair).eval()
    student = pair.student.eval()
    objective(batch, student).loss.backward()
    for learner, other in ((student, objective.peer), (objective.peer, student)):
        measured = {name: value.grad for name, value in learner.named_parameters()}
        learner.zero_grad()
        with torch.no_grad():
            answers = other(batch.images)
        mutual_loss(learner(batch.images), answers, batch.labels, 1.0, 1.0).backward()
        for name, value in learner.named_parameters():
            assert value.grad.abs().sum() > 0
            torch.testing.assert_close(measured[name], value.grad)


def test_the_peer_is_optimised_and_stored_but_not_in_the_student(pair):
    objective = MutualSettings(method="mutual").objective(pair)
    ours = {id(parameter) for parameter in pair.student.parameters()}
    peers = {id(parameter) for parameter in objective.peer.parameters()}
    assert {id(parameter) for parameter in objective.parameters()} == peers
    assert not peers & ours
    assert all(name.startswith("peer.") for name in objective.state_dict())
    assert not any("peer" in name for name in pair.student.state_dict())


def test_the_peer_trains_when_the_objective_does(pair):
    objective = MutualSettings(method="mutual").objective(pair)
    assert objective.train().peer.training
    assert not objective.eval().peer.training


def test_the_peer_is_laid_out_as_the_images_are(pair, batch):
    objective = MutualSettings(method="mutual").objective(pair)
    images = batch.images.expand(-1, 1, -1, -1).contiguous(memory_format=torch.channels_last)
    # Of one channel both layouts are the same; of four they are told apart.
    kernel = objective.peer.stages[0][0].conv2.weight
    objective(batch._replace(images=images), pair.student)
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_a_resumed_training_has_the_same_peer_bit_for_bit(tiny_images, tiny_normalization):
    start = Checkpoint(
        spec=SPEC,
        weights={},
        stage="student",
        fingerprint="f",
        classes=("top", "middle", "bottom"),
        normalization=tiny_normalization,
    )
    settings = TrainingSettings.model_validate(
        {
            "epochs": 2,
            "batch_size": 32,
            "optimizer": {"name": "sgd", "learning_rate": 0.05},
            "schedule": {"name": "warmup_cosine", "warmup_epochs": 1},
            "precision": "float32",
            "gradient_clip": 1.0,
            "augmentation": None,
        }
    )

    def prepare(seed: int) -> Trainee:
        torch.manual_seed(seed)
        student = build_model(SPEC)
        labels = torch.from_numpy(tiny_images.labels)
        pair = Pair(NeverAsked(), student, SPEC, labels)
        return Trainee(student, MutualSettings(method="mutual").objective(pair))

    arguments = (start, tiny_images, tiny_images, settings)
    first, last = fit(lambda: prepare(0), *arguments)
    (resumed,) = fit(lambda: prepare(1), *arguments, resume=first)
    for ours, theirs in ((last.weights, resumed.weights), (last.objective, resumed.objective)):
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    moved = (last.objective[name] != first.objective[name] for name in ("peer.stem.weight",))
    assert all(each.any() for each in moved)
