"""What the stages that learn from a teacher have in common."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from model_compression.distillation import AnswerShelf, KdSettings
from model_compression.images import Batches, Normalization
from model_compression.models import Checkpoint, CheckpointError, ModelSettings, build_model
from model_compression.pipelines.pruning.nodes import train_pruned
from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pipelines.stage.nodes import choose_teachers, learn_from
from model_compression.pipelines.stage.parameters import LearningParameters
from model_compression.training import TrainingSettings

NORMALIZATION = Normalization(mean=(0.3,), std=(0.4,))
TRAINING = {
    "epochs": 1,
    "batch_size": 32,
    "optimizer": {"name": "sgd", "learning_rate": 0.01},
    "augmentation": {"crop_padding": 1, "views": 2},
}


def checkpoint(images, name: str, seed: int, stage: str = "teacher") -> Checkpoint:
    torch.manual_seed(seed)
    spec = ModelSettings(name=name, options={"width": 8}).spec(images.image_shape, 3)
    weights = build_model(spec).state_dict()
    return Checkpoint(spec, weights, stage, "fingerprint", images.classes, NORMALIZATION)


def answer(images, teachers, shelf, combination=None) -> torch.Tensor:
    """What the teachers say of the first batch, seen through the objective that learns from it."""
    settings = TrainingSettings(**TRAINING, precision="float32")
    spec = teachers[0].spec
    objective = learn_from(
        teachers,
        KdSettings(method="kd"),
        build_model(spec),
        spec,
        settings,
        images,
        shelf,
        combination,
    )
    batches = Batches(
        images,
        NORMALIZATION,
        batch_size=8,
        device="cpu",
        augmentation=settings.augmentation,
        shuffle=True,
    )
    return objective._teacher.logits(next(batches.epoch(0)))


def test_a_retrained_teacher_is_asked_anew_though_its_parameters_are_the_same(
    tiny_images, tmp_path
):
    shelf = AnswerShelf(tmp_path)
    first = checkpoint(tiny_images, "resnet8", seed=0)
    second = checkpoint(tiny_images, "resnet8", seed=1)
    assert first.fingerprint == second.fingerprint
    assert not torch.equal(
        answer(tiny_images, [first], shelf), answer(tiny_images, [second], shelf)
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_stages_that_show_the_same_views_read_the_same_answers(tiny_images, tmp_path):
    teacher = checkpoint(tiny_images, "resnet8", seed=0)
    expected = answer(tiny_images, [teacher], AnswerShelf(tmp_path))
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    again = answer(tiny_images, [replace(teacher, stage="other")], AnswerShelf(tmp_path))
    assert torch.equal(again, expected)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == written


def test_two_teachers_answer_with_the_mean_of_their_logits(tiny_images, tmp_path):
    shelf = AnswerShelf(tmp_path)
    teachers = [checkpoint(tiny_images, name, 0) for name in ("resnet8", "resnet14")]
    alone = [answer(tiny_images, [teacher], shelf) for teacher in teachers]
    together = answer(tiny_images, teachers, shelf, "average")
    torch.testing.assert_close(together, torch.stack(alone).mean(0))


def test_further_teachers_are_asked_in_the_order_of_their_names(tiny_images):
    teacher, more = checkpoint(tiny_images, "resnet8", 0), checkpoint(tiny_images, "resnet8", 1)
    assert choose_teachers(teacher, {"b": more}, None) == [teacher]
    chosen = choose_teachers(teacher, {"b": more, "a": more}, "average")
    assert [each.stage for each in chosen] == ["teacher", "more_teachers/a", "more_teachers/b"]


def test_no_further_teacher_is_an_error_that_says_where_to_put_one(tiny_images):
    with pytest.raises(CheckpointError, match=r"put model\.safetensors files of other teachers"):
        choose_teachers(checkpoint(tiny_images, "resnet8", 0), {}, "confidence")


@pytest.mark.parametrize("method", ["none", "mutual", "at", "pkt"])
def test_methods_that_cannot_ask_several_teachers_refuse_them_at_once(method):
    with pytest.raises(ValidationError, match="can't learn from several teachers"):
        LearningParameters(
            distillation={"method": method}, more_teachers="average", training=TRAINING
        )


def test_a_method_with_projections_prunes_to_the_same_weights_whatever_ran_before(
    tiny_images, tmp_path
):
    teacher = checkpoint(tiny_images, "resnet14", 0)
    student = checkpoint(tiny_images, "resnet8", 1, "student")
    parameters = PruningParameters(
        pruning={"method": "channels", "round_to": 2},
        distillation={"method": "vid"},
        training=TRAINING,
    )

    def weights(drawn_before: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(drawn_before)
        *_, (state, _) = train_pruned(
            tiny_images,
            tiny_images,
            NORMALIZATION,
            teacher,
            student,
            {},
            AnswerShelf(tmp_path),
            parameters,
            None,
        )
        return state.weights

    first, second = weights(1), weights(2)
    assert all(torch.equal(first[name], second[name]) for name in first)
