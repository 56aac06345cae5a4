import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from scipy.special import log_softmax
from torch import nn
from torch.nn import functional

from model_compression.distillation import DistillationError, Pair
from model_compression.distillation.byot import ByotSettings, ShallowClassifier, byot_loss
from model_compression.models import ModelSettings, build_model

SHAPE = (1, 12, 12)
LABELS = np.array([0, 3, 1, 4])
LOGITS = arrays(np.float32, (3, 4, 5), elements=st.floats(-30, 30, width=32))
FEATURES = arrays(np.float32, (3, 4, 6), elements=st.floats(-10, 10, width=32))
OPTIONS = {"temperature": 3.0, "alpha": 0.3, "hint": 0.03}


@given(logits=LOGITS, features=FEATURES, temperature=st.floats(1, 10), alpha=st.floats(0, 1))
def test_byot_is_the_formula_written_in_numpy(logits, features, temperature, alpha):
    def cross_entropy(z):
        return -log_softmax(z, axis=1)[np.arange(4), LABELS].mean()

    z, f = logits.astype(float), features.astype(float)
    log_p = log_softmax(z[-1] / temperature, axis=1)
    expected = cross_entropy(z[-1])
    for i in range(2):
        log_q = log_softmax(z[i] / temperature, axis=1)
        soft = temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
        distance = ((f[i] - f[-1]) ** 2).sum(axis=1).mean()
        expected += (1 - alpha) * cross_entropy(z[i]) + alpha * soft + 0.05 * distance
    measured = byot_loss(
        list(torch.from_numpy(logits)),
        list(torch.from_numpy(features)),
        torch.from_numpy(LABELS),
        temperature=temperature,
        alpha=alpha,
        hint=0.05,
    )
    assert measured.item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_where_all_classifiers_agree_only_the_labels_count():
    logits, features = torch.randn(4, 5), torch.randn(4, 6)
    labels = torch.from_numpy(LABELS)
    loss = byot_loss([logits] * 3, [features] * 3, labels, **OPTIONS)
    torch.testing.assert_close(loss, (1 + 2 * 0.7) * functional.cross_entropy(logits, labels))


def test_the_deepest_classifier_learns_from_the_labels_alone():
    logits = torch.randn(3, 4, 5, requires_grad=True)
    features = torch.randn(3, 4, 6, requires_grad=True)
    labels = torch.from_numpy(LABELS)
    byot_loss(list(logits), list(features), labels, **OPTIONS).backward()
    deepest = logits[-1].detach().clone().requires_grad_()
    functional.cross_entropy(deepest, labels).backward()
    torch.testing.assert_close(logits.grad[-1], deepest.grad)
    assert features.grad[-1].abs().max() == 0
    assert all(each.abs().sum() > 0 for each in (*logits.grad[:-1], *features.grad[:-1]))


def test_extreme_logits_in_bfloat16_are_finite():
    logits = torch.tensor([[[1e4, -1e4, 0.0]], [[-1e4, 1e4, 0.0]]], dtype=torch.bfloat16)
    logits.requires_grad_()
    features = torch.full((2, 1, 6), 100.0, dtype=torch.bfloat16)
    loss = byot_loss(list(logits), list(features), torch.tensor([0]), **OPTIONS)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("shape", [(2, 6, 14, 14), (2, 4, 7, 7), (2, 5, 10, 12), (2, 3, 1, 1)])
def test_a_shallow_classifier_fits_any_map_to_the_deepest(shape):
    head = ShallowClassifier(shape, (2, 16, 5, 5), classes=3)
    logits, features = head(torch.randn(shape))
    assert logits.shape == (2, 3)
    assert features.shape == (2, 16)
    assert features.min() < 0 < features.max()


class NeverAsked:
    """A teacher that nobody may ask."""

    def __getattr__(self, name: str):
        raise AssertionError(f"the teacher was asked for {name}")


def pair_of(labels: torch.Tensor, name: str = "resnet8", **options) -> Pair:
    torch.manual_seed(0)
    spec = ModelSettings(name=name, options=options).spec(SHAPE, 3)
    return Pair(NeverAsked(), build_model(spec), spec, labels)


@pytest.fixture
def pair(batch) -> Pair:
    return pair_of(batch.labels, width=4)


@pytest.mark.parametrize(("name", "heads"), [("resnet8", 2), ("wrn_10_1", 2), ("net", 2)])
def test_each_stage_but_the_last_has_a_classifier(batch, name, heads):
    pair = pair_of(batch.labels, name)
    objective = ByotSettings(method="byot").objective(pair)
    assert len(objective.heads) == heads
    assert torch.isfinite(objective(batch, pair.student.train()).loss)


def test_layers_may_be_named(pair, batch):
    settings = ByotSettings(method="byot", layers=("relu", "stages.1"))
    objective = settings.objective(pair)
    (head,) = objective.heads
    assert head.bottleneck[0].in_channels == 4
    assert head.classifier.in_features == 8
    assert torch.isfinite(objective(batch, pair.student).loss)


def test_a_wrong_layer_is_refused_with_the_right_ones(pair):
    with pytest.raises(DistillationError, match=r"no layer 'stages.7'.*stages\.1"):
        ByotSettings(method="byot", layers=("stages.7", "stages.1")).objective(pair)


def test_one_layer_alone_has_nobody_to_teach(batch):
    with pytest.raises(ValidationError, match="at least 2 items"):
        ByotSettings(method="byot", layers=("stages.1",))
    student = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3))
    spec = ModelSettings(name="net").spec(SHAPE, 3)
    pair = Pair(NeverAsked(), student, spec, batch.labels)
    with pytest.raises(DistillationError, match="byot needs a layer below the deepest one"):
        ByotSettings(method="byot").objective(pair)


def test_the_objective_is_the_loss_of_what_the_student_shows(pair, batch):
    objective = ByotSettings(method="byot").objective(pair).eval()
    student = pair.student.eval()
    output = objective(batch, student)
    x = student.relu(student.norm(student.stem(batch.images)))
    maps = [x := stage(x) for stage in student.stages]
    answers = [head(each) for head, each in zip(objective.heads, maps[:-1], strict=True)]
    logits = student(batch.images)
    expected = byot_loss(
        [*(each for each, _ in answers), logits],
        [*(each for _, each in answers), maps[-1].mean((2, 3))],
        batch.labels,
        **OPTIONS,
    )
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.logits, logits)


def test_classifiers_are_optimised_and_stored_but_not_in_the_student(pair, batch):
    before = set(pair.student.state_dict())
    objective = ByotSettings(method="byot").objective(pair).train()
    student = pair.student.train()
    objective(batch, student).loss.backward()
    assert set(student.state_dict()) == before
    assert {id(each) for each in objective.parameters()} == {
        id(each) for each in objective.heads.parameters()
    }
    assert all(name.startswith("heads.") for name in objective.state_dict())
    assert all(each.grad is not None for each in objective.parameters())
    for head in objective.heads:
        assert head.classifier.weight.grad.abs().sum() > 0
        assert head.bottleneck[0].weight.grad.abs().sum() > 0


def test_early_layers_learn_from_their_classifiers_and_the_last_one_does_not(pair, batch):
    objective = ByotSettings(method="byot").objective(pair).eval()
    student = pair.student.eval()
    objective(batch, student).loss.backward()
    measured = {name: value.grad for name, value in student.named_parameters()}
    student.zero_grad()
    functional.cross_entropy(student(batch.images), batch.labels).backward()
    for name, value in student.named_parameters():
        is_late = name.startswith(("stages.2", "classifier"))
        assert torch.allclose(measured[name], value.grad, atol=1e-6) == is_late, name


def test_defaults_are_those_of_the_authors():
    settings = ByotSettings(method="byot")
    assert (settings.temperature, settings.alpha, settings.hint) == (3.0, 0.3, 0.03)
