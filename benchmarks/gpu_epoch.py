"""What surrounds a training step on a GPU costs: images a second, against what a GPU can do.

In turns, a round each, every one with the same network (ResNet-18 for small images: a 3 x 3 stem
without pooling), batch, precision, layout and optimiser:

- the bare step (forward, backward, update) on one batch that is there already;
- an epoch of the product: its loop, with augmentation, metrics, validation and the training state;
- the same, its images streamed instead of resident;
- the step fed as the fastest recipes for small images feed theirs (as airbench does): all images on
  the GPU, normalised once and in half the bytes; each epoch's order, mirroring and shifts drawn
  there for all images at once; batches cut out by slices.

The images are random: nothing here depends on what they show. Prints the median images a second of
each, and the median of the ratios to the bare step, taken round by round, with the smallest and the
largest.

    python benchmarks/gpu_epoch.py
    python benchmarks/gpu_epoch.py --compile
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_compression.images import AugmentationParameters, ImageSet, compute_normalization
from model_compression.models import ModelSettings
from model_compression.parameters import Parameters
from model_compression.pipelines.stage.nodes import new_checkpoint
from model_compression.torchvision_shim import import_torchvision
from model_compression.training import CrossEntropy, Trainee, TrainingSettings, TrainingState, fit
from model_compression.training.execution import Execution
from model_compression.training.hardware import autocast, exact_float32, place
from model_compression.training.optimizers import build_optimizer
from turns import by_turns

SHAPE = (3, 32, 32)
CLASSES = 10
PADDING = 2


def resnet18() -> nn.Module:
    """ResNet-18, as it is used for images of 32 x 32: nothing is lost before the first block."""
    torch.manual_seed(0)
    model = import_torchvision().models.resnet18(num_classes=CLASSES)
    model.conv1 = nn.Conv2d(SHAPE[0], 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model  # type: ignore[no-any-return]


class Recipe:
    """What all contestants have in common."""

    def __init__(self, images: int, batch: int, way: Execution, device: torch.device) -> None:
        generator = np.random.default_rng(0)
        pixels = generator.integers(0, 256, (images, *SHAPE), dtype=np.uint8)
        labels = generator.integers(0, CLASSES, images)
        names = tuple(str(number) for number in range(CLASSES))
        self.train = ImageSet(pixels, labels, names, "random")
        self.validation = self.train.subset(range(min(1000, images)))
        self.normalization = compute_normalization(self.train)
        self.batch = batch
        self.steps = images // batch
        self.way = way
        self.device = device

    def settings(self, rounds: int, resident_share: float) -> TrainingSettings:
        """The product's, with nothing left to choose."""
        return TrainingSettings(
            epochs=rounds,
            batch_size=self.batch,
            optimizer={"name": "sgd", "learning_rate": 0.01},
            schedule={"name": "warmup_cosine", "warmup_epochs": 0},
            augmentation=AugmentationParameters(crop_padding=PADDING),
            device=self.device.type,
            resident_share=resident_share,
            **self.way.as_settings(),
        )

    def product(self, rounds: int, resident_share: float) -> Callable[[], float]:
        """The training loop, an epoch at a time, with its validation."""
        settings = self.settings(rounds, resident_share)
        spec = ModelSettings(name="resnet20").spec(SHAPE, CLASSES)  # names the checkpoint alone
        start = new_checkpoint(
            "teacher", spec, Parameters(), self.train, self.validation, self.normalization
        )
        states: Iterator[TrainingState] = fit(
            lambda: Trainee(resnet18(), CrossEntropy()),
            start,
            self.train,
            self.validation,
            settings,
        )

        def epoch() -> float:
            started = self._now()
            next(states)
            return self._now() - started

        return epoch

    def stepping(self) -> Callable[[Tensor, Tensor], None]:
        """One step of a network of its own."""
        model = place(resnet18(), self.device, self.way.channels_last).train()
        if self.way.compiled:
            model.compile()
        optimizer = build_optimizer(model.parameters(), self.settings(1, 0).optimizer)

        def step(images: Tensor, labels: Tensor) -> None:
            with autocast(self.way.dtype, self.device):
                logits = model(images)
            loss = functional.cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step

    def bare(self) -> Callable[[], float]:
        """An epoch's steps on one batch."""
        step = self.stepping()
        images = torch.randn(self.batch, *SHAPE, device=self.device)
        images = images.contiguous(memory_format=self.way.memory_format)
        labels = torch.arange(self.batch, device=self.device) % CLASSES

        def epoch() -> float:
            started = self._now()
            for _ in range(self.steps):
                step(images, labels)
            return self._now() - started

        return epoch

    def all_at_once(self) -> Callable[[], float]:
        """An epoch whose images are varied together, on the GPU, before its first step."""
        step = self.stepping()
        bytes_ = torch.from_numpy(self.train.images[:]).to(self.device)
        normalised = self.normalization.apply(bytes_).to(self.way.dtype)
        padded = functional.pad(normalised, (PADDING,) * 4, mode="reflect")
        labels = torch.from_numpy(self.train.labels).to(self.device)
        size = SHAPE[1]

        def varied() -> Tensor:
            count = len(padded)
            shifts = torch.randint(2 * PADDING + 1, (2, count), device=self.device)
            images = torch.empty_like(normalised)
            # As many cuts as there are shifts: each takes all images that have it.
            for down in range(2 * PADDING + 1):
                for right in range(2 * PADDING + 1):
                    chosen = (shifts[0] == down) & (shifts[1] == right)
                    images[chosen] = padded[chosen, :, down : down + size, right : right + size]
            mirrored = torch.rand(count, device=self.device) < 0.5
            return torch.where(mirrored[:, None, None, None], images.flip(3), images)

        def epoch() -> float:
            started = self._now()
            images = varied().contiguous(memory_format=self.way.memory_format)
            order = torch.randperm(len(images), device=self.device)
            for number in range(self.steps):
                chosen = order[number * self.batch : (number + 1) * self.batch]
                step(images[chosen], labels[chosen])
            return self._now() - started

        return epoch

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def compare(recipe: Recipe, rounds: int) -> str:
    """Takes the turns; a table in Markdown."""
    contestants = {
        "bare step": recipe.bare(),
        "product": recipe.product(rounds + 1, 0.5),
        "product, streamed": recipe.product(rounds + 1, 0),
        "all at once, as airbench": recipe.all_at_once(),
    }
    for epoch in contestants.values():
        epoch()
    seconds = by_turns(contestants, rounds)
    lines = ["| | images a second | time against the bare step |", "| --- | --- | --- |"]
    for name, values in seconds.items():
        ratios = [mine / bare for mine, bare in zip(values, seconds["bare step"], strict=True)]
        pace = recipe.steps * recipe.batch / statistics.median(values)
        lines.append(
            f"| {name} | {pace:,.0f} | {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Prints the table, or what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--compile", action="store_true", help="by torch.compile, all of them")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(
            "This measures a GPU, and PyTorch sees none here: run it on a machine with a CUDA "
            "device and a CUDA build of PyTorch. benchmarks/training_epoch.py measures a CPU."
        )
    device = torch.device("cuda", torch.cuda.current_device())
    way = Execution(
        precision=arguments.precision,
        channels_last=True,
        compiled=arguments.compile,
        threads=torch.get_num_threads(),
    )
    recipe = Recipe(arguments.images, arguments.batch, way, device)
    with exact_float32():
        table = compare(recipe, arguments.rounds)
    print(f"{torch.cuda.get_device_name(device)}; PyTorch {torch.__version__}; {way}")
    print(f"ResNet-18, {recipe.steps} steps of {arguments.batch} images of {SHAPE} an epoch")
    print(table)


if __name__ == "__main__":
    main()
