import pytest
import torch
from pydantic import ValidationError
from torch import nn

from model_compression.distillation.labels_only import LabelsOnly
from model_compression.distillation.method import Pair
from model_compression.images import Batch
from model_compression.models import ModelSettings


class Untouchable:
    """A teacher that must not even be looked at."""

    def __getattr__(self, name):
        raise AssertionError(f"the teacher's {name} was used")


def test_labels_alone_are_smoothed_cross_entropy_and_nobody_is_asked():
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    labels = torch.tensor([0, 1, 2, 0, 1])
    spec = ModelSettings(name="net").spec((1, 8, 8), 3)
    pair = Pair(Untouchable(), student, spec, labels)
    objective = LabelsOnly(method="none", label_smoothing=0.2).objective(pair)
    batch = Batch(torch.randn(5, 1, 8, 8), labels, torch.arange(5), epoch=0)
    log_p = student(batch.images).log_softmax(dim=1)
    targets = nn.functional.one_hot(labels, 3) * 0.8 + 0.2 / 3
    torch.testing.assert_close(objective(batch, student).loss, -(targets * log_p).sum(1).mean())


def test_labels_cannot_be_smoothed_away():
    with pytest.raises(ValidationError, match="label_smoothing"):
        LabelsOnly(method="none", label_smoothing=1.0)
