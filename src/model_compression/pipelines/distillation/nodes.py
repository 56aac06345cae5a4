"""A student, a network of its own, distilled from the teacher."""

from collections.abc import Iterator, Mapping

import torch

from model_compression.distillation import AnswerShelf
from model_compression.images import ImageSet, Normalization
from model_compression.models import Checkpoint, build_model
from model_compression.pipelines.distillation.parameters import DistillationParameters
from model_compression.pipelines.stage.nodes import choose_teachers, learn_from, new_checkpoint
from model_compression.training import History, Trainee, TrainingState, fit


def train_student(
    train_images: ImageSet,
    validation_images: ImageSet,
    normalization: Normalization,
    teacher: Checkpoint,
    more_teachers: Mapping[str, Checkpoint],
    teacher_answers: AnswerShelf,
    parameters: DistillationParameters,
    resume_state: TrainingState | None,
) -> Iterator[tuple[TrainingState, History]]:
    """Distils the frozen teacher into the student; yields its state after every epoch."""
    teachers = choose_teachers(teacher, more_teachers, parameters.more_teachers)
    spec = parameters.model.spec(train_images.image_shape, len(train_images.classes))
    start = new_checkpoint(
        "student", spec, parameters, train_images, validation_images, normalization, *teachers
    )

    def prepare() -> Trainee:
        torch.manual_seed(parameters.training.seed)
        student = build_model(spec)
        objective = learn_from(
            teachers,
            parameters.distillation,
            student,
            spec,
            parameters.training,
            train_images,
            teacher_answers,
            parameters.more_teachers,
        )
        return Trainee(student, objective)

    for state in fit(
        prepare, start, train_images, validation_images, parameters.training, resume_state
    ):
        yield state, state.history
