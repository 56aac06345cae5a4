"""A teacher, trained on the labels."""

from collections.abc import Iterator

import torch

from model_compression.images import ImageSet, Normalization
from model_compression.models import build_model
from model_compression.pipelines.stage.nodes import new_checkpoint
from model_compression.pipelines.teacher.parameters import TeacherParameters
from model_compression.training import CrossEntropy, History, Trainee, TrainingState, fit


def train_teacher(
    train_images: ImageSet,
    validation_images: ImageSet,
    normalization: Normalization,
    parameters: TeacherParameters,
    resume_state: TrainingState | None,
) -> Iterator[tuple[TrainingState, History]]:
    """Trains the teacher with cross-entropy; yields its state after every epoch."""
    spec = parameters.model.spec(train_images.image_shape, len(train_images.classes))
    start = new_checkpoint(
        "teacher", spec, parameters, train_images, validation_images, normalization
    )

    def prepare() -> Trainee:
        torch.manual_seed(parameters.training.seed)
        return Trainee(build_model(spec), CrossEntropy(parameters.label_smoothing))

    for state in fit(
        prepare, start, train_images, validation_images, parameters.training, resume_state
    ):
        yield state, state.history
