"""What surrounds a training step costs: an epoch of the product against the bare step, and others.

In turns, a round each: the bare step (forward, backward, update) on a batch that is there already;
an epoch of the product, with images read, varied, normalised, metrics, and the training state
written to disk; the same recipe as it is usually written (PIL images, torchvision's transforms, a
``DataLoader`` with workers, eager float32). Each validates, too. Prints the median seconds of an
epoch of each, and the median of the ratios to the bare step, taken round by round, with the
smallest and the largest.

    python benchmarks/training_epoch.py --model=resnet20
    python benchmarks/training_epoch.py --model=net --batch=256
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from model_compression.images import (
    AugmentationParameters,
    DataParameters,
    ImageSet,
    compute_normalization,
    load_images,
)
from model_compression.machine import processor
from model_compression.models import ModelSettings, build_model
from model_compression.parameters import Parameters
from model_compression.pipelines.stage.nodes import new_checkpoint
from model_compression.torchvision_shim import import_torchvision
from model_compression.training import (
    CrossEntropy,
    Trainee,
    TrainingSettings,
    TrainingState,
    fit,
    write_training_state,
)
from model_compression.training.execution import Execution, using_threads
from model_compression.training.hardware import autocast, place
from model_compression.training.optimizers import build_optimizer

RAW = Path(__file__).parents[1] / "data" / "01_raw"


class Recipe:
    """One network and the images that it learns from, untrained: a step's time asks for no more."""

    def __init__(self, model: str, images: int, batch: int, rounds: int) -> None:
        splits = load_images(
            DataParameters(source={"kind": "idx"}, train_limit=images, test_limit=500), RAW
        )
        self.train: ImageSet = splits.train
        self.validation: ImageSet = splits.validation
        self.normalization = compute_normalization(splits.train)
        self.spec = ModelSettings(name=model).spec(self.train.image_shape, len(self.train.classes))
        self.steps = len(self.train) // batch
        self.settings = TrainingSettings(
            epochs=rounds + 1,
            batch_size=batch,
            optimizer={"name": "sgd", "learning_rate": 0.01},
            schedule={"name": "warmup_cosine", "warmup_epochs": 0},
            augmentation=AugmentationParameters(crop_padding=1),
        )

    def network(self) -> nn.Module:
        """With the same first weights each time."""
        torch.manual_seed(0)
        return build_model(self.spec)

    def product(self, folder: Path) -> Iterator[TrainingState]:
        """The training loop, an epoch at a time; each state is written as Kedro would."""
        start = new_checkpoint(
            "teacher", self.spec, Parameters(), self.train, self.validation, self.normalization
        )
        states = fit(
            lambda: Trainee(self.network(), CrossEntropy()),
            start,
            self.train,
            self.validation,
            self.settings,
        )
        for state in states:
            write_training_state(state, folder / "state.safetensors")
            yield state

    def bare(self, way: Execution) -> Callable[[], float]:
        """An epoch's steps, and the forward passes of its validation, on batches that are there."""
        cpu = torch.device("cpu")
        model = place(self.network(), cpu, way.channels_last).train()
        if way.compiled:
            model.compile()
        optimizer = build_optimizer(model.parameters(), self.settings.optimizer)
        shape = (self.settings.batch_size, *self.train.image_shape)
        images = torch.randn(shape).contiguous(memory_format=way.memory_format)
        labels = torch.arange(len(images)) % len(self.train.classes)
        size = max(self.settings.batch_size, 500)
        validated = torch.randn(size, *shape[1:]).contiguous(memory_format=way.memory_format)

        def epoch() -> float:
            with using_threads(way.threads), autocast(way.dtype, cpu):
                started = time.perf_counter()
                for _ in range(self.steps):
                    loss = functional.cross_entropy(model(images).float(), labels)
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
                model.eval()
                with torch.no_grad():
                    for first in range(0, len(self.validation), size):
                        model(validated[: min(size, len(self.validation) - first)])
                model.train()
                return time.perf_counter() - started

        return epoch

    def usual(self, workers: int) -> Callable[[], float]:
        """A DataLoader over PIL images, and eager float32, validation likewise."""
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
        options = {"num_workers": workers, "persistent_workers": workers > 0}
        loader = DataLoader(
            PilImages(self.train, transforms.Compose(varied)),
            self.settings.batch_size,
            shuffle=True,
            drop_last=True,
            **options,
        )
        validation = DataLoader(
            PilImages(self.validation, transforms.Compose(normalise)),
            max(self.settings.batch_size, 500),
            **options,
        )
        model = self.network().train()
        optimizer = build_optimizer(model.parameters(), self.settings.optimizer)

        def epoch() -> float:
            started = time.perf_counter()
            for images, labels in loader:
                loss = functional.cross_entropy(model(images), labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for images, _ in validation:
                    model(images)
            model.train()
            return time.perf_counter() - started

        return epoch


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


def main() -> None:
    """Takes the turns and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--images", type=int, default=6400, help="of the training images")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    arguments = parser.parse_args()
    recipe = Recipe(arguments.model, arguments.images, arguments.batch, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        states = recipe.product(Path(folder))
        way = next(states).execution
        assert way is not None

        def product() -> float:
            started = time.perf_counter()
            next(states)
            return time.perf_counter() - started

        contestants = {
            "bare step": recipe.bare(way),
            "product": product,
            "DataLoader": recipe.usual(arguments.workers),
        }
        for name in ("bare step", "DataLoader"):
            contestants[name]()
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(arguments.rounds):
            for name, epoch in contestants.items():
                seconds[name].append(epoch())
    print(f"{processor()}; PyTorch {torch.__version__}; {way}")
    print(f"{arguments.model}, {recipe.steps} steps of {arguments.batch} images an epoch")
    print("| | s an epoch | against the bare step (smallest to largest) |\n| --- | --- | --- |")
    for name, values in seconds.items():
        ratios = [mine / bare for mine, bare in zip(values, seconds["bare step"], strict=True)]
        print(
            f"| {name} | {statistics.median(values):.2f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) |"
        )


if __name__ == "__main__":
    main()
