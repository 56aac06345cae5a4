"""What surrounds a training step costs: an epoch of the product against the bare step, and others.

In rounds, each in an order of its own, and each turn after a few bare steps that are not counted:

    bare        forward, backward, update, on a batch that is there already
    product     an epoch with images read, varied, normalised, metrics, and the training state
                written to disk
    dataloader  the same recipe as it is usually written: PIL images, torchvision's transforms, a
                ``DataLoader`` with workers, eager float32
    lightning   the same data under Lightning's Trainer (``pip install lightning``), with the logger
                and the checkpoints that it has by itself

Each validates, too. With ``--teacher`` all of them distil: the product and the bare step have the
teacher's logits stored, the usual ways ask it at every step. Writes, and prints, the median seconds
of an epoch of each and the medians of the ratios to the bare step and to the product, taken round
by round, with the smallest and the largest.

    python benchmarks/training_epoch.py --model=resnet20
    python benchmarks/training_epoch.py --model=net --batch=256
    python benchmarks/training_epoch.py --model=net --teacher=resnet20

Networks are untrained: the time of a step asks for no more.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from model_compression.distillation import AnswerShelf, KdSettings, LabelsOnly, kd_loss
from model_compression.images import (
    AugmentationParameters,
    DataParameters,
    ImageSet,
    compute_normalization,
    load_images,
)
from model_compression.models import Checkpoint, ModelSettings, build_model
from model_compression.pipelines.stage.nodes import learn_from, new_checkpoint
from model_compression.torchvision_shim import import_torchvision
from model_compression.training import (
    CrossEntropy,
    Objective,
    Precision,
    Trainee,
    TrainingSettings,
    TrainingState,
    fit,
    resolve_device,
    write_training_state,
)
from model_compression.training.execution import Execution, using_threads
from model_compression.training.hardware import autocast, exact_float32, place
from model_compression.training.optimizers import build_optimizer
from results import FOLDER, keep, spread, surroundings
from turns import Turn, by_turns

RAW = Path(__file__).parents[1] / "data" / "01_raw"
WAYS = ("bare", "product", "dataloader", "lightning")
LONG_ENOUGH = 30
"""Epochs that the training is said to have: as many as make a training one whose pace is chosen by
timing, as that of a real one is; only the rounds of them are run."""

SETTLING = 5
"""Bare steps before every turn."""

Epoch = Turn
"""Runs one and tells its seconds."""


class Recipe:
    """One network, the images that it learns from, and its teacher if it has one."""

    def __init__(
        self,
        model: str,
        teacher: str | None,
        images: int,
        batch: int,
        rounds: int,
        precision: Precision,
    ) -> None:
        splits = load_images(
            DataParameters(source={"kind": "idx"}, train_limit=images, test_limit=500), RAW
        )
        self.train: ImageSet = splits.train
        self.validation: ImageSet = splits.validation
        self.normalization = compute_normalization(splits.train)
        self.spec = self._spec(model)
        self.method = KdSettings(method="kd") if teacher else LabelsOnly(method="none")
        self.teacher = self._untrained(teacher) if teacher else None
        self.steps = len(self.train) // batch
        self.settings = TrainingSettings(
            epochs=max(rounds + 1, LONG_ENOUGH),
            batch_size=batch,
            optimizer={"name": "sgd", "learning_rate": 0.01},
            schedule={"name": "warmup_cosine", "warmup_epochs": 0},
            gradient_clip=10 if teacher else None,
            precision=precision,
            augmentation=AugmentationParameters(crop_padding=1, views=1 if teacher else "live"),
        )
        self.device = resolve_device(self.settings.device)
        self.validation_batch = max(batch, 500)

    def _spec(self, name: str) -> Any:
        return ModelSettings(name=name).spec(self.train.image_shape, len(self.train.classes))

    def _untrained(self, name: str) -> Checkpoint:
        spec = self._spec(name)
        torch.manual_seed(1)
        return Checkpoint(
            spec=spec,
            weights=build_model(spec).state_dict(),
            stage="teacher",
            fingerprint="untrained",
            classes=self.train.classes,
            normalization=self.normalization,
        )

    def network(self) -> nn.Module:
        """With the same first weights each time."""
        torch.manual_seed(0)
        return build_model(self.spec)

    def loss(self, logits: Tensor, labels: Tensor, soft: Tensor | None) -> Tensor:
        """Cross-entropy, or distillation as the product's ``kd`` is, of float32 logits."""
        hard = functional.cross_entropy(logits, labels)
        if soft is None:
            return hard
        assert isinstance(self.method, KdSettings)
        alpha = self.method.alpha
        return (1 - alpha) * hard + alpha * kd_loss(logits, soft, self.method.temperature)

    def product(self, folder: Path) -> Iterator[TrainingState]:
        """The training loop, an epoch at a time; each state is written as Kedro would."""
        start = new_checkpoint(
            "student", self.spec, self.method, self.train, self.validation, self.normalization
        )

        def prepare() -> Trainee:
            network = self.network()
            objective: Objective = CrossEntropy()
            if self.teacher is not None:
                objective = learn_from(
                    [self.teacher],
                    self.method,
                    network,
                    self.spec,
                    self.settings,
                    self.train,
                    AnswerShelf(folder / "answers"),
                )
            return Trainee(network, objective)

        for state in fit(prepare, start, self.train, self.validation, self.settings):
            write_training_state(state, folder / "state.safetensors")
            yield state

    def bare(self, way: Execution, steps: int | None = None) -> Epoch:
        """An epoch's steps, and the forward passes of its validation, on batches that are there.

        Args:
            way: How they are computed.
            steps: Other than an epoch has, and then no validation.
        """
        model = place(self.network(), self.device, way.channels_last).train()
        if way.compiled:
            model.compile()
        optimizer = build_optimizer(model.parameters(), self.settings.optimizer)
        shape = (self.settings.batch_size, *self.train.image_shape)

        def resident(count: int) -> Tensor:
            batch = torch.randn(count, *shape[1:], device=self.device)
            return batch.contiguous(memory_format=way.memory_format)

        images, validated = resident(shape[0]), resident(self.validation_batch)
        labels = torch.arange(len(images), device=self.device) % len(self.train.classes)
        soft = None
        if self.teacher is not None:
            soft = torch.randn(len(images), len(self.train.classes), device=self.device)
        clip = self.settings.gradient_clip

        def epoch() -> float:
            with (
                using_threads(way.threads),
                autocast(way.dtype, self.device),
                exact_float32(),
            ):
                started = time.perf_counter()
                for _ in range(self.steps if steps is None else steps):
                    loss = self.loss(model(images).float(), labels, soft)
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    if clip is not None:
                        nn.utils.clip_grad_norm_(model.parameters(), clip)
                    optimizer.step()
                model.eval()
                with torch.no_grad():
                    end = len(self.validation) if steps is None else 0
                    for first in range(0, end, self.validation_batch):
                        model(validated[: len(self.validation) - first])
                model.train()
                self._wait()
                return time.perf_counter() - started

        return epoch

    def loaders(self, workers: int) -> tuple[Any, Any]:
        """Training and validation images as PIL images, one by one, in worker processes."""
        transforms = import_torchvision().transforms
        normalise = [
            transforms.ToTensor(),
            transforms.Normalize(self.normalization.mean, self.normalization.std),
        ]
        varied = [
            transforms.RandomCrop(self.train.image_shape[1:], padding=1),
            transforms.RandomHorizontalFlip(),
            *normalise,
        ]
        options = {
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": self.device.type == "cuda",
        }
        return DataLoader(
            PilImages(self.train, transforms.Compose(varied)),
            self.settings.batch_size,
            shuffle=True,
            drop_last=True,
            **options,
        ), DataLoader(
            PilImages(self.validation, transforms.Compose(normalise)),
            self.validation_batch,
            **options,
        )

    def asked(self) -> nn.Module | None:
        """The teacher as the usual ways have it: a frozen network, asked at every step."""
        return None if self.teacher is None else self.teacher.build().eval().to(self.device)

    def usual(self, workers: int) -> Epoch:
        """A DataLoader over PIL images, and eager float32, validation likewise."""
        training, validation = self.loaders(workers)
        model = self.network().to(self.device).train()
        teacher = self.asked()
        optimizer = build_optimizer(model.parameters(), self.settings.optimizer)
        clip = self.settings.gradient_clip

        def epoch() -> float:
            started = time.perf_counter()
            for cpu_images, cpu_labels in training:
                images, labels = cpu_images.to(self.device), cpu_labels.to(self.device)
                loss = self.loss(model(images), labels, _answers(teacher, images))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for images, _ in validation:
                    model(images.to(self.device))
            model.train()
            self._wait()
            return time.perf_counter() - started

        return epoch

    def lightning(self, workers: int, folder: Path) -> Epoch:
        """The usual way under Lightning, as its users get it but for the bars on the screen.

        Timed from the start of its epoch to the end of its validation, without what ``fit`` does
        once.
        """
        lightning = _import_lightning()
        recipe, network, teacher = self, self.network(), self.asked()

        class Student(lightning.LightningModule):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.network = network
                self.began = self.ended = 0.0

            def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
                images, labels = batch
                return recipe.loss(self.network(images), labels, _answers(teacher, images))

            def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
                self.network(batch[0])

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return build_optimizer(self.network.parameters(), recipe.settings.optimizer)

            def on_train_epoch_start(self) -> None:
                self.began = time.perf_counter()

            def on_train_end(self) -> None:
                recipe._wait()
                self.ended = time.perf_counter()

        student = Student()
        training, validation = self.loaders(workers)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = lightning.Trainer(
                accelerator="gpu" if self.device.type == "cuda" else "cpu",
                devices=1,
                max_epochs=0,
                gradient_clip_val=self.settings.gradient_clip,
                default_root_dir=folder,
                num_sanity_val_steps=0,
                enable_progress_bar=False,
                enable_model_summary=False,
            )

        def epoch() -> float:
            trainer.fit_loop.max_epochs += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer.fit(student, training, validation)
            return student.ended - student.began

        return epoch

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class PilImages(Dataset):  # type: ignore[type-arg]
    """Images as most datasets of torchvision give them: one by one, as PIL images."""

    def __init__(self, images: ImageSet, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.images.images[index].squeeze(0))
        return self.transform(image), int(self.images.labels[index])


def _answers(teacher: nn.Module | None, images: Tensor) -> Tensor | None:
    if teacher is None:
        return None
    with torch.no_grad():
        return teacher(images)  # type: ignore[no-any-return]


def _import_lightning() -> Any:
    # Its metrics import torchvision, which may be built for another PyTorch than the one here.
    import_torchvision()
    try:
        import lightning.pytorch as lightning  # noqa: PLC0415
    except ImportError as error:
        raise SystemExit(
            "Lightning is wanted for the comparison only, and is not installed: pip install "
            f"lightning, or leave it out by --ways=bare,product,dataloader ({error})"
        ) from error
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return lightning


def _ways(text: str) -> list[str]:
    names = text.split(",")
    unknown = sorted(set(names) - set(WAYS))
    if unknown:
        raise argparse.ArgumentTypeError(
            f"expected some of {', '.join(WAYS)}, with commas between; got {', '.join(unknown)}"
        )
    return [name for name in WAYS if name in names]


def _ratios(mine: list[float], other: list[float] | None) -> list[float]:
    return [] if other is None else [one / two for one, two in zip(mine, other, strict=True)]


def main() -> None:
    """Takes the turns, prints the table and keeps it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--teacher", help="distil from this network")
    parser.add_argument("--ways", type=_ways, default=["bare", "product", "dataloader"])
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16; product's")
    parser.add_argument("--images", type=int, default=6400, help="of the training images")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    parser.add_argument("--table", type=Path, default=FOLDER / "training_epoch.csv")
    given = parser.parse_args()
    recipe = Recipe(
        given.model, given.teacher, given.images, given.batch, given.rounds, given.precision
    )
    with tempfile.TemporaryDirectory() as folder:
        states = recipe.product(Path(folder))
        way = next(states).execution
        assert way is not None

        def product() -> float:
            started = time.perf_counter()
            next(states)
            return time.perf_counter() - started

        make: dict[str, Callable[[], Epoch]] = {
            "bare": lambda: recipe.bare(way),
            "product": lambda: product,
            "dataloader": lambda: recipe.usual(given.workers),
            "lightning": lambda: recipe.lightning(given.workers, Path(folder)),
        }
        contestants = {name: make[name]() for name in given.ways}
        for name, epoch in contestants.items():
            if name != "product":
                epoch()
        seconds = by_turns(contestants, given.rounds, recipe.bare(way, SETTLING))
    what = f"{given.model} under {given.teacher}" if given.teacher else given.model
    print(f"{what}, {recipe.steps} steps of {given.batch} images an epoch; product: {way}")
    print(
        "| | s an epoch | against the bare step | against the product |\n| --- | --- | --- | --- |"
    )
    rows = []
    for name, values in seconds.items():
        to_bare = _ratios(values, seconds.get("bare"))
        to_product = _ratios(values, seconds.get("product"))
        shown = " | ".join(_shown(ratios) for ratios in (to_bare, to_product))
        print(f"| {name} | {statistics.median(values):.2f} | {shown} |")
        rows.append(
            {
                "model": given.model,
                "teacher": given.teacher or "",
                "batch": given.batch,
                "device": recipe.device.type,
                "asked_precision": given.precision,
                "way": name,
                "execution": str(way) if name in ("bare", "product") else "float32, eager",
                "steps": recipe.steps,
                "rounds": given.rounds,
                **spread("seconds", values),
                **spread("to_bare", to_bare),
                **spread("to_product", to_product),
                **surroundings("torchvision", "lightning"),
            }
        )
    key = ("model", "teacher", "batch", "device", "asked_precision", "way")
    keep(given.table, rows, key)


def _shown(ratios: list[float]) -> str:
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
