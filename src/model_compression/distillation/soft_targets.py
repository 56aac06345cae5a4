"""Hinton's loss of softened probabilities, which many methods build on.

Knows logits only; the method that is nothing else is in kd.
"""

from torch import Tensor
from torch.nn import functional


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), averaged over the batch.

    The factor T² keeps the gradient's size when T changes (section 2.1).

    Args:
        student: Logits, shape (N, K).
        teacher: Logits, shape (N, K).
        temperature: T > 0; larger is softer.

    Returns:
        A scalar ≥ 0; 0 where both give the same distribution.
    """
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    return divergence * temperature**2
