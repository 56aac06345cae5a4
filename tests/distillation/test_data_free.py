import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from torch import nn

from model_compression.distillation.data_free import (
    DataFreeSettings,
    Statistics,
    activation_loss,
    disagreement_loss,
    entropy_loss,
    one_hot_loss,
    statistics_loss,
    statistics_of,
)
from model_compression.distillation.generator import Generator, GeneratorTraining
from model_compression.distillation.method import DistillationError, Pair
from model_compression.distillation.teacher import FrozenTeacher
from model_compression.images import Batch, ImageSet, Normalization
from model_compression.models import Checkpoint, ModelSettings, build_model
from model_compression.training import Trainee, TrainingSettings, autocast, fit

LOGITS = arrays(np.float32, (6, 4), elements=st.floats(-20, 20, width=32))
SHAPE = (1, 8, 8)
SMALL = {"width": 8, "latent": 6}
EVERYTHING = {"generator_steps": 2, **SMALL}


def network(channels: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def pair(teacher: nn.Module, student: nn.Module, shape=SHAPE, classes: int = 3) -> Pair:
    spec = ModelSettings(name="resnet8").spec(shape, classes)
    return Pair(FrozenTeacher(teacher, shape, 3), student, spec, torch.zeros(4).long())


def batch(fill: float = 0.0, shape=SHAPE, size: int = 6) -> Batch:
    indices = torch.arange(size)
    return Batch(torch.full((size, *shape), fill), indices % 3, indices, epoch=0)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@given(logits=LOGITS)
def test_one_hot_loss_is_the_formula_written_in_numpy(logits):
    expected = -np.log(softmax(logits.astype(float), axis=1).max(axis=1)).mean()
    assert one_hot_loss(torch.from_numpy(logits)).item() == pytest.approx(expected, abs=1e-5)


@given(logits=LOGITS)
def test_entropy_loss_is_the_formula_written_in_numpy(logits):
    p = softmax(logits.astype(float), axis=1).mean(axis=0)
    expected = (p * np.log(p)).sum()
    assert entropy_loss(torch.from_numpy(logits)).item() == pytest.approx(expected, abs=1e-5)


@given(student=LOGITS, teacher=LOGITS)
def test_disagreement_loss_is_minus_the_jensen_shannon_divergence(student, teacher):
    p, q = softmax(teacher.astype(float), axis=1), softmax(student.astype(float), axis=1)
    m = (p + q) / 2
    expected = -((p * np.log(p / m)).sum(1) + (q * np.log(q / m)).sum(1)).mean() / 2
    measured = disagreement_loss(torch.from_numpy(student), torch.from_numpy(teacher))
    assert measured.item() == pytest.approx(expected, abs=1e-5)


def test_activation_loss_is_the_formula_written_in_numpy():
    embedding = torch.randn(5, 7)
    assert activation_loss(embedding).item() == pytest.approx(-np.abs(embedding.numpy()).mean())


def test_statistics_loss_is_the_formula_written_in_numpy():
    maps = [np.random.default_rng(seed).normal(seed, 2, (5, 3, 4, 4)) for seed in (0, 1)]
    mean, variance = np.array([0.5, -0.5, 1]), np.array([1.0, 2, 3])
    expected = np.mean(
        [
            np.sqrt(((x.mean((0, 2, 3)) - mean) ** 2).sum())
            + np.sqrt(((x.var((0, 2, 3)) - variance) ** 2).sum())
            for x in maps
        ]
    )
    stored = Statistics(torch.from_numpy(mean), torch.from_numpy(variance))
    here = [statistics_of(torch.from_numpy(x)) for x in maps]
    assert statistics_loss(here, [stored] * 2).item() == pytest.approx(expected, rel=1e-5)


@given(logits=LOGITS)
def test_entropy_loss_is_least_for_balanced_classes(logits):
    balanced = 50 * torch.eye(4)
    least = entropy_loss(balanced).item()
    assert least == pytest.approx(-math.log(4), abs=1e-6)
    assert least <= entropy_loss(torch.from_numpy(logits)).item() + 1e-6


def test_entropy_loss_is_zero_where_only_one_class_is_ever_named():
    assert entropy_loss(torch.tensor([[60.0, 0, 0]] * 4)).item() == pytest.approx(0, abs=1e-6)


def test_one_hot_loss_asks_for_sure_answers_of_whatever_class():
    sure, unsure = torch.tensor([[9.0, 0, 0]]), torch.tensor([[1.0, 0, 0]])
    assert one_hot_loss(sure) < one_hot_loss(unsure)
    assert one_hot_loss(sure).item() == pytest.approx(one_hot_loss(sure.roll(1, 1)).item())


@given(shift=st.floats(-5, 5), factor=st.floats(0.1, 10))
def test_statistics_loss_is_zero_only_where_the_statistics_match(shift, factor):
    maps = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    stored = [statistics_of(maps)]
    assert statistics_loss([statistics_of(maps[torch.randperm(8)])], stored).item() < 1e-5
    changed = statistics_of(maps * factor + shift)
    if abs(shift) > 0.1 or abs(factor - 1) > 0.1:
        assert statistics_loss([changed], stored).item() > 0.05


def test_statistics_are_those_that_batch_norm_normalises_by():
    maps = torch.randn(8, 3, 5, 5)
    norm = nn.BatchNorm2d(3, momentum=1.0)
    norm(maps)
    seen = statistics_of(maps)
    torch.testing.assert_close(seen.mean, norm.running_mean)
    # Batch norm keeps the unbiased variance, by N - 1.
    torch.testing.assert_close(seen.variance, norm.running_var * 199 / 200)


@given(logits=LOGITS, shift=st.floats(-9, 9))
def test_networks_that_give_the_same_distribution_do_not_disagree(logits, shift):
    tensor = torch.from_numpy(logits)
    assert disagreement_loss(tensor + shift, tensor).item() == pytest.approx(0, abs=1e-5)


def test_losses_of_extreme_logits_are_finite_in_bfloat16():
    extreme = torch.tensor([[1e4, -1e4, 0], [1e4, 0, -1e4]], dtype=torch.bfloat16)
    teacher = extreme.clone().requires_grad_()
    loss = (
        one_hot_loss(teacher)
        + entropy_loss(teacher)
        + activation_loss(teacher)
        + disagreement_loss(-extreme, teacher)
        + statistics_loss([statistics_of(teacher)], [statistics_of(-extreme)])
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(teacher.grad).all()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 7, 9), (3, 5, 30), (2, 1, 1)])
def test_generated_images_have_the_asked_shape_and_are_normalised(shape):
    images = Generator(shape, latent=10, width=8)(torch.randn(16, 10))
    assert images.shape == (16, *shape)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(shape[0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        images.std((0, 2, 3), correction=0), torch.ones(shape[0]), atol=0.05, rtol=0
    )


def test_loss_is_that_of_the_students_answers_to_the_generated_images():
    student = network().eval()
    settings = DataFreeSettings(method="data_free", temperature=3.0, **SMALL)
    teacher = network()
    output = settings.objective(pair(teacher, student))(batch(), student)
    assert output.logits.shape == (6, 3)
    assert output.labels.shape == (6,)
    same = settings.objective(pair(teacher, teacher))(batch(), teacher)
    assert same.loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.equal(same.labels, same.logits.argmax(1))


@pytest.mark.parametrize(
    "overrides",
    [SMALL, EVERYTHING, {"activation": 0.0, "statistics": 0.0, "disagreement": 0.0, **SMALL}],
)
def test_images_and_labels_of_a_batch_do_not_matter(overrides):
    outputs = []
    for fill in (0.0, 7.0):
        torch.manual_seed(3)
        teacher, student = network(), network()
        settings = DataFreeSettings(method="data_free", **overrides)
        objective = settings.objective(pair(teacher, student))
        seen = batch(fill)
        for _ in range(3):
            output = objective(seen._replace(labels=seen.labels.roll(int(fill))), student)
        outputs.append(output)
    assert torch.equal(outputs[0].loss, outputs[1].loss)
    assert torch.equal(outputs[0].labels, outputs[1].labels)


def test_teacher_stays_as_it_is():
    teacher, student = network(), network()
    objective = DataFreeSettings(method="data_free", **EVERYTHING).objective(pair(teacher, student))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    for _ in range(3):
        objective(batch(), student).loss.backward()
    assert not any(part.training for part in teacher.modules())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in teacher.modules())


def test_gradient_of_the_loss_reaches_the_student_alone():
    teacher, student = network(), network()
    objective = DataFreeSettings(method="data_free", **EVERYTHING).objective(pair(teacher, student))
    output = objective(batch(), student)
    assert all(parameter.grad is None for parameter in student.parameters())
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    generator = objective.source.generator
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_generator_is_trained_but_not_by_the_loops_optimiser():
    teacher, student = network(), network()
    objective = DataFreeSettings(method="data_free", **SMALL).objective(pair(teacher, student))
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    assert list(objective.parameters()) == []
    objective(batch(), student)
    changed = [
        name for name, value in objective.state_dict().items() if not value.equal(before[name])
    ]
    assert "source.generator.conv1.weight" in changed
    assert "source.adam.conv1.weight.exp_avg" in changed


def test_generators_images_come_to_have_the_statistics_of_the_teachers_own():
    teacher, student = network(), network()
    with torch.no_grad():
        stripes = torch.randn(64, *SHAPE).cumsum(3)
        stripes = (stripes - stripes.mean()) / stripes.std()
        for _ in range(60):
            teacher.train()(stripes)
    settings = DataFreeSettings(
        method="data_free",
        one_hot=0,
        activation=0,
        disagreement=0,
        generator_learning_rate=0.01,
        **SMALL,
    )
    objective = settings.objective(pair(teacher, student))

    def distance() -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            seen = objective._sight.observe(objective.source.generator(torch.randn(64, 6)))
        return statistics_loss(seen.here, seen.stored).item()

    before = distance()
    for _ in range(60):
        objective(batch(size=32), student)
    assert distance() < before / 2


def test_two_steps_and_two_resumed_ones_are_four():
    def start():
        torch.manual_seed(5)
        teacher, student = network(), network()
        made = pair(teacher, student)
        objective = DataFreeSettings(method="data_free", **EVERYTHING).objective(made)
        return objective, student, torch.optim.SGD(student.parameters(), 0.1)

    def steps(objective, student, optimizer, seed):
        torch.manual_seed(seed)
        for _ in range(2):
            output = objective(batch(), student)
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
        return output.loss

    objective, student, optimizer = start()
    steps(objective, student, optimizer, seed=1)
    states = [
        {name: value.clone() for name, value in part.state_dict().items()}
        for part in (objective, student)
    ]
    uninterrupted = steps(objective, student, optimizer, seed=2)

    objective_again, student_again, optimizer_again = start()
    objective_again.load_state_dict(states[0])
    student_again.load_state_dict(states[1])
    resumed = steps(objective_again, student_again, optimizer_again, seed=2)

    assert torch.equal(uninterrupted, resumed)
    for one, other in ((objective, objective_again), (student, student_again)):
        ours, theirs = one.state_dict(), other.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_training_cut_off_after_an_epoch_goes_on_to_the_same_weights(
    tiny_images: ImageSet, tiny_normalization: Normalization
):
    shape = tiny_images.image_shape
    spec = ModelSettings(name="resnet8", options={"width": 2}).spec(shape, 3)
    settings = TrainingSettings.model_validate(
        {"epochs": 2, "batch_size": 32, "optimizer": {"name": "sgd", "learning_rate": 0.1}}
        | {"schedule": {"name": "one_cycle", "warmup_epochs": 1}}
    )
    start = Checkpoint(spec, {}, "student", "print", tiny_images.classes, tiny_normalization)

    def prepare() -> Trainee:
        torch.manual_seed(0)
        teacher, student = network(), build_model(spec)
        method = DataFreeSettings(method="data_free", **EVERYTHING)
        return Trainee(student, method.objective(pair(teacher, student, shape)))

    whole = list(fit(prepare, start, tiny_images, tiny_images, settings))
    rest = list(fit(prepare, start, tiny_images, tiny_images, settings, resume=whole[0]))
    assert all(
        torch.equal(value, rest[0].weights[name]) for name, value in whole[1].weights.items()
    )
    assert all(
        torch.equal(whole[1].objective[name], value) for name, value in rest[0].objective.items()
    )


def test_a_state_of_another_generator_is_refused():
    teacher, student = network(), network()
    small = DataFreeSettings(method="data_free", width=8).objective(pair(teacher, student))
    large = DataFreeSettings(method="data_free", width=16).objective(pair(teacher, student))
    with pytest.raises(RuntimeError, match=r"size mismatch for source\.generator\.conv1\.weight"):
        large.load_state_dict(small.state_dict())
    incomplete = small.state_dict()
    del incomplete["source.adam.conv1.weight.step"]
    with pytest.raises(RuntimeError, match=r"Missing key.*adam\.conv1\.weight\.step"):
        small.load_state_dict(incomplete)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*source\.more"):
        small.load_state_dict(small.state_dict() | {"source.more": torch.zeros(1)})


def test_generator_and_its_optimiser_move_with_the_objective():
    teacher, student = network(), network()
    objective = DataFreeSettings(method="data_free", **SMALL).objective(pair(teacher, student))
    moved = objective.to(torch.float64).state_dict()
    assert moved["source.generator.conv1.weight"].dtype == torch.float64
    assert moved["source.adam.conv1.weight.exp_avg"].dtype == torch.float64


def test_a_teacher_without_batch_norm_lacks_the_statistics_only():
    teacher = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    student = network()
    losses = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        settings = DataFreeSettings(method="data_free", statistics=weight, **SMALL)
        objective = settings.objective(pair(teacher, student.eval()))
        losses += [[objective(batch(), student).loss.item() for _ in range(3)]]
    assert losses[0] == losses[1]


class Auxiliary(nn.Module):
    """A network with a layer that only a training would use."""

    def __init__(self, idle: nn.Module) -> None:
        super().__init__()
        self.layers = network()
        self.idle = idle

    def forward(self, images):
        return self.layers(images)


def test_a_batch_norm_that_does_not_run_is_not_looked_at():
    losses = []
    for idle in (nn.Identity(), nn.BatchNorm2d(7)):
        torch.manual_seed(0)
        made = pair(Auxiliary(idle), network())
        objective = DataFreeSettings(method="data_free", **SMALL).objective(made)
        losses.append([objective(batch(), made.student).loss.item() for _ in range(3)])
    assert losses[0] == losses[1]


def test_disagreement_seeks_images_that_the_student_gets_wrong():
    teacher, student = network(), network().eval()
    found = []
    for weight in (0.0, 100.0):
        torch.manual_seed(0)
        settings = DataFreeSettings(
            method="data_free", disagreement=weight, generator_learning_rate=0.01, **SMALL
        )
        objective = settings.objective(pair(teacher, student))
        for _ in range(40):
            output = objective(batch(size=32), student)
        found.append(output.loss.item())
    assert found[1] > found[0]


def test_runs_under_bfloat16_autocast_and_stays_finite():
    teacher, student = network(), network()
    objective = DataFreeSettings(method="data_free", **EVERYTHING).objective(pair(teacher, student))
    with autocast(torch.bfloat16, torch.device("cpu")):
        output = objective(batch(), student)
    output.loss.backward()
    assert output.loss.dtype == output.logits.dtype == torch.float32
    assert torch.isfinite(output.loss)
    assert all(value.isfinite().all() for value in objective.state_dict().values())


def test_teacher_and_student_must_know_the_same_classes():
    with pytest.raises(DistillationError, match=r"knows 3 classes and the student 5"):
        DataFreeSettings(method="data_free", **SMALL).objective(
            pair(network(), network(), classes=5)
        )


def test_a_second_step_in_bfloat16_sees_the_weights_that_the_first_one_left():
    # The training loop holds one autocast open around all of a step.
    torch.manual_seed(0)
    source = GeneratorTraining(Generator(SHAPE, 10, 8), 0.1)
    noise = torch.randn(4, 10)
    with autocast(torch.bfloat16, torch.device("cpu")):
        before = source.generator.project(noise)
        source.descend(source.generator(noise).square().mean())
        after = source.generator.project(noise)
    assert not torch.equal(before, after)
