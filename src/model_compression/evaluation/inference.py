"""Runs a network over images: all its logits, or just accuracy and loss.

Knows modules and images; files and their runtimes are not its business.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from model_compression.evaluation.modes import evaluating
from model_compression.images import Batches, ImageSet, Normalization


class Score(NamedTuple):
    """How a network does on labelled images."""

    accuracy: float
    """Share of the images classified correctly."""
    loss: float
    """Mean cross-entropy, in nats."""


def predict_logits(
    module: nn.Module,
    image_set: ImageSet,
    normalization: Normalization,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """The logits of every image, in the set's order, shape (N, classes).

    Args:
        module: Takes normalised images (N, C, H, W), on ``device``; run in evaluation mode and
            left in its own.
        image_set: The images.
        normalization: What the network was trained with.
        batch_size: Images at a time.
        device: Where the module is.
    """
    batches = Batches(image_set, normalization, batch_size=batch_size, device=device, shuffle=False)
    with evaluating(module), torch.no_grad():
        logits = [module(batch.images).float().cpu().numpy() for batch in batches.epoch(0)]
    return np.concatenate(logits)


class Tally(NamedTuple):
    """What a score is made of; the sums of several tallies are the tally of all their images."""

    correct: float
    """Images classified correctly."""
    loss: float
    """Summed cross-entropy, in nats."""
    images: float
    """All that were seen."""

    @property
    def score(self) -> Score:
        """The shares and means of these images."""
        return Score(accuracy=self.correct / self.images, loss=self.loss / self.images)


def score(module: nn.Module, batches: Batches) -> Score:
    """Accuracy and loss over one epoch of ``batches``; see ``tally`` for its arguments."""
    return tally(module, batches).score


def tally(module: nn.Module, batches: Batches) -> Tally:
    """Counts over one epoch of ``batches``, of a share of them where they are shared.

    Args:
        module: Run in evaluation mode and left in its own.
        batches: Labelled images, on the module's device; unshuffled, so that none is left out.
    """
    seen = 0
    # Added up where the logits are, in double precision, and asked for once: to ask a GPU for a
    # number at every batch is to let it wait for the next one.
    sums = torch.zeros(2, dtype=torch.float64, device=batches.device)
    with evaluating(module), torch.no_grad():
        for batch in batches.epoch(0):
            logits = module(batch.images).float()
            sums[0] += (logits.argmax(dim=1) == batch.labels).sum()
            sums[1] += cross_entropy(logits, batch.labels, reduction="sum")
            seen += len(batch.labels)
    correct, loss = sums.tolist()
    return Tally(correct, loss, seen)
