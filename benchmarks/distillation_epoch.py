"""What a teacher costs: an epoch of distillation against the same epoch without a teacher.

Trainings of the same student advance by turns, an epoch each, through the whole training loop.
Prints the median seconds of each and the median of the ratios to the training without a teacher,
taken round by round. ``kd, live`` asks the teacher at every step; all others that learn from
logits alone read stored ones.

    python benchmarks/distillation_epoch.py
    python benchmarks/distillation_epoch.py --methods=all --images=3200
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import torch

from model_compression.distillation import AnswerShelf, DistillationMethod, LabelsOnly, Method
from model_compression.images import (
    AugmentationParameters,
    DataParameters,
    ImageSet,
    Normalization,
    compute_normalization,
    load_images,
)
from model_compression.models import Checkpoint, ModelSettings, build_model
from model_compression.pipelines.stage.nodes import learn_from, new_checkpoint
from model_compression.training import Trainee, TrainingSettings, TrainingState, fit

RAW = Path(__file__).parents[1] / "data" / "01_raw"
METHODS: dict[str, type[Method]] = {
    get_args(settings.model_fields["method"].annotation)[0]: settings
    for settings in get_args(get_args(DistillationMethod)[0])
}


class Study:
    """One student and one teacher, both untrained: the time of a step does not ask for more."""

    def __init__(
        self, student: ModelSettings, teacher: ModelSettings, images: int, rounds: int
    ) -> None:
        parameters = DataParameters(source={"kind": "idx"}, train_limit=images, test_limit=500)
        splits = load_images(parameters, RAW)
        self.train: ImageSet = splits.train
        self.validation: ImageSet = splits.validation
        self.normalization: Normalization = compute_normalization(splits.train)
        self.rounds = rounds
        shape, classes = self.train.image_shape, self.train.classes
        self.spec = student.spec(shape, len(classes))
        spec = teacher.spec(shape, len(classes))
        torch.manual_seed(0)
        self.teacher = Checkpoint(
            spec=spec,
            weights=build_model(spec).state_dict(),
            stage="teacher",
            fingerprint="untrained",
            classes=classes,
            normalization=self.normalization,
        )

    def training(self, method: Method, views: int | str, shelf: Path) -> Iterator[TrainingState]:
        """An epoch at a time; the first one warms up, and asks for the logits that are stored."""
        settings = TrainingSettings(
            epochs=self.rounds + 1,
            batch_size=128,
            optimizer={"name": "sgd", "learning_rate": 0.01},
            schedule={"name": "warmup_cosine", "warmup_epochs": 0},
            gradient_clip=10,
            augmentation=AugmentationParameters(crop_padding=1, views=views),
        )
        start = new_checkpoint(
            "student", self.spec, method, self.train, self.validation, self.normalization
        )

        def prepare() -> Trainee:
            torch.manual_seed(0)
            network = build_model(self.spec)
            objective = learn_from(
                [self.teacher], method, network, self.spec, settings, self.train, AnswerShelf(shelf)
            )
            return Trainee(network, objective)

        return fit(prepare, start, self.train, self.validation, settings)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", default='{"name": "resnet8"}', help="as in the parameters")
    parser.add_argument("--teacher", default='{"name": "resnet20"}')
    parser.add_argument("--methods", default="kd", help="names with commas, or all")
    parser.add_argument("--images", type=int, default=12_800, help="training images")
    parser.add_argument("--rounds", type=int, default=9, help="measured epochs of each")
    arguments = parser.parse_args()
    study = Study(
        ModelSettings.model_validate_json(arguments.student),
        ModelSettings.model_validate_json(arguments.teacher),
        arguments.images,
        arguments.rounds,
    )
    names = list(METHODS) if arguments.methods == "all" else arguments.methods.split(",")
    with tempfile.TemporaryDirectory() as folder:
        shelf = Path(folder)
        trainings = {"no teacher": study.training(LabelsOnly(method="none"), 1, shelf)}
        for name in names:
            if name != "none":
                trainings[name] = study.training(METHODS[name](method=name), 1, shelf)
        live = METHODS["kd"](method="kd")
        trainings["kd, live"] = study.training(live, "live", shelf)
        for training in trainings.values():
            next(training)
        seconds: dict[str, list[float]] = {name: [] for name in trainings}
        for _ in range(arguments.rounds):
            for name, training in trainings.items():
                started = time.perf_counter()
                next(training)
                seconds[name].append(time.perf_counter() - started)
    print(
        f"{arguments.student} under {arguments.teacher}, {len(study.train)} images, batch 128, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {arguments.rounds} rounds"
    )
    base = seconds["no teacher"]
    for name, times in seconds.items():
        ratios = [mine / without for mine, without in zip(times, base, strict=True)]
        print(
            f"{name:14} {statistics.median(times):7.2f} s   "
            f"{statistics.median(ratios):.3f} x ({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
