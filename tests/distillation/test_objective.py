import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from model_compression.distillation import (
    AnswerMemory,
    DistillationMethod,
    FrozenTeacher,
    KdSettings,
    LabelsOnly,
    distillation_objective,
    kd_loss,
)
from model_compression.images import Batch
from model_compression.training import CrossEntropy, Objective


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3))


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.randn(5, 1, 8, 8, generator=generator),
        labels=torch.tensor([0, 1, 2, 0, 1]),
        indices=torch.arange(5),
        epoch=0,
    )


def test_soft_targets_mix_labels_and_teacher_by_alpha(batch):
    teacher, student = network(), network()
    settings = KdSettings(method="kd", temperature=3, alpha=0.7)
    output = distillation_objective(settings, teacher, teacher_precision="float32")(
        batch, student.eval()
    )
    with torch.no_grad():
        logits = student(batch.images)
        expected = 0.3 * nn.functional.cross_entropy(logits, batch.labels) + 0.7 * kd_loss(
            logits, teacher(batch.images), 3
        )
    torch.testing.assert_close(output.loss.detach(), expected)
    torch.testing.assert_close(output.logits.detach(), logits)


def test_gradient_reaches_the_student_alone(batch):
    teacher, student = network(), network()
    objective = distillation_objective(KdSettings(method="kd"), teacher)
    objective(batch, student.train()).loss.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_teacher_stays_as_it_is_while_its_objective_trains(batch):
    teacher = network().train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    objective = distillation_objective(KdSettings(method="kd"), teacher).train()
    objective(batch, network().train())
    assert not teacher.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_teacher_is_neither_optimised_nor_stored(batch):
    objective = distillation_objective(KdSettings(method="kd"), network())
    assert list(objective.parameters()) == []
    assert objective.state_dict() == {}


def test_teacher_follows_the_layout_of_the_images(batch):
    teacher = FrozenTeacher(network(), "float32")
    plain = teacher.logits(batch.images)
    images = batch.images.expand(-1, 1, -1, -1).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(teacher.logits(images), plain)


def test_no_method_is_learning_from_labels(batch):
    student = network().eval()
    objective = distillation_objective(LabelsOnly(method="none", label_smoothing=0.2), network())
    assert isinstance(objective, CrossEntropy)
    expected = nn.functional.cross_entropy(student(batch.images), batch.labels, label_smoothing=0.2)
    torch.testing.assert_close(objective(batch, student).loss, expected)


def test_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match=r"'kd', 'none'"):
        TypeAdapter(DistillationMethod).validate_python({"method": "dk"})


def test_an_objective_must_say_what_it_minimises(batch):
    with pytest.raises(TypeError, match=r"Objective does not define forward"):
        Objective()(batch, network())


class Counting(nn.Module):
    """A teacher that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = network()
        self.asked = 0

    def forward(self, images):
        self.asked += 1
        return self.layers(images)


def test_a_view_that_comes_again_is_not_asked_again(batch):
    teacher = Counting()
    objective = distillation_objective(
        KdSettings(method="kd"), teacher, AnswerMemory(2, 5, 3), "float32"
    )
    student = network().eval()
    first = objective(batch, student).loss
    again = objective(batch, student).loss
    assert teacher.asked == 1
    torch.testing.assert_close(again, first, rtol=1e-3, atol=1e-3)
    objective(batch._replace(view=1), student)
    assert teacher.asked == 2


def test_answers_are_kept_for_each_image_whatever_batch_it_is_in(batch):
    teacher = Counting()
    memory = AnswerMemory(1, 5, 3)
    objective = distillation_objective(KdSettings(method="kd"), teacher, memory, "float32")
    objective(batch, network().eval())
    turned = torch.tensor([3, 0])
    recalled = memory.recall(batch._replace(indices=turned))
    with torch.no_grad():
        expected = teacher.layers(batch.images[turned])
    torch.testing.assert_close(recalled, expected, rtol=2e-3, atol=2e-3)


def test_answers_are_stored_and_resumed_with_the_objective(batch):
    kept = distillation_objective(KdSettings(method="kd"), network(), AnswerMemory(1, 5, 3))
    kept(batch, network().eval())
    teacher = Counting()
    resumed = distillation_objective(KdSettings(method="kd"), teacher, AnswerMemory(1, 5, 3))
    resumed.load_state_dict(kept.state_dict())
    resumed(batch, network().eval())
    assert teacher.asked == 0
