import pytest
import torch
from torch import nn

from model_compression.distillation import FrozenTeacher, Pair
from model_compression.images import Batch
from model_compression.models import ModelSettings, ModelSpec, build_model

SHAPE = (1, 12, 12)
CLASSES = 3


def spec_of(name: str, shape: tuple[int, int, int] = SHAPE, **options) -> ModelSpec:
    return ModelSettings(name=name, options=options).spec(shape, CLASSES)


def pair_of(
    teacher: ModelSpec, student: ModelSpec, labels: torch.Tensor, seed: int = 0
) -> tuple[Pair, nn.Module]:
    torch.manual_seed(seed)
    network = build_model(teacher)
    frozen = FrozenTeacher(network, teacher.input_shape, teacher.classes, "float32")
    return Pair(frozen, build_model(student), student, labels), network


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.randn(8, *SHAPE, generator=generator),
        labels=torch.tensor([0, 1, 2, 0, 1, 2, 2, 1]),
        indices=torch.arange(8),
        epoch=1,
    )


@pytest.fixture
def pair(batch) -> Pair:
    return pair_of(spec_of("resnet14", width=8), spec_of("resnet8", width=4), batch.labels)[0]
