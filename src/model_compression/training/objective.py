"""What a training step minimises: the protocol, and learning from labels alone.

Knows a batch and the network that is trained. An objective that needs more (a teacher) owns it.
"""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from model_compression.images import Batch


class LossOutput(NamedTuple):
    """What an objective gives back for one batch."""

    loss: Tensor
    """A scalar; its gradient trains the network and the objective's own parameters."""
    logits: Tensor
    """The trained network's logits, shape (N, classes), for the running training accuracy."""
    labels: Tensor | None = None
    """What the logits are compared with for it, shape (N,); the batch's labels unless given."""


class Objective(nn.Module):
    """A loss over one batch; ``forward(batch, model) -> LossOutput``.

    Whatever is learned beside the network (projections, auxiliary heads) is a parameter of the
    objective: it is optimised, saved and resumed with it, and never exported. What is frozen (a
    teacher) must not be registered as a sub-module.
    """

    reads_logits_alone = False
    """Whether of the network it reads nothing but the logits and the parameters, so that the
    network may be compiled: hooks on the layers of a compiled network are passed over."""

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """Runs ``model`` on the batch and measures it.

        Raises:
            TypeError: Always; an objective says itself what it minimises.
        """
        raise TypeError(f"{type(self).__name__} does not define forward(batch, model).")


class CrossEntropy(Objective):
    """Cross-entropy with the labels, smoothed by ``label_smoothing`` (Szegedy et al., 2016)."""

    reads_logits_alone = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """The mean over the batch of -sum_k y_k log softmax(z)_k, y smoothed."""
        logits = model(batch.images).float()
        loss = functional.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        return LossOutput(loss, logits)
