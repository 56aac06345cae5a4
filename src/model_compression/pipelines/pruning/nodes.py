"""The student, pruned and fine-tuned under the teacher."""

from collections.abc import Iterator, Mapping

import torch

from model_compression.distillation import AnswerShelf
from model_compression.images import ImageSet, Normalization
from model_compression.models import Checkpoint
from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pipelines.stage.nodes import choose_teachers, learn_from, new_checkpoint
from model_compression.pruning import prune
from model_compression.training import History, Trainee, TrainingState, fit


def train_pruned(
    train_images: ImageSet,
    validation_images: ImageSet,
    normalization: Normalization,
    teacher: Checkpoint,
    student: Checkpoint,
    more_teachers: Mapping[str, Checkpoint],
    teacher_answers: AnswerShelf,
    parameters: PruningParameters,
    resume_state: TrainingState | None,
) -> Iterator[tuple[TrainingState, History]]:
    """Prunes the student and fine-tunes what is left; yields its state after every epoch."""
    spec = student.spec
    teachers = choose_teachers(teacher, more_teachers, parameters.more_teachers)
    start = new_checkpoint(
        "pruned",
        spec,
        parameters,
        train_images,
        validation_images,
        normalization,
        *teachers,
        student,
    )

    def prepare() -> Trainee:
        pruned = prune(
            student.build(), spec.input_shape, parameters.pruning, parameters.training.seed
        )
        torch.manual_seed(parameters.training.seed)
        objective = learn_from(
            teachers,
            parameters.distillation,
            pruned.module,
            spec,
            parameters.training,
            train_images,
            teacher_answers,
            parameters.more_teachers,
        )
        return Trainee(pruned.module, objective, after_step=pruned.hold)

    for state in fit(
        prepare, start, train_images, validation_images, parameters.training, resume_state
    ):
        yield state, state.history
