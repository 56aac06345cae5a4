"""Logit standardisation (Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024).

    Z(z) = (z - mean(z)) / (std(z) + ε), over the classes of each image, for student and teacher.

A student then has to have its teacher's logits up to scale and shift; their size, which a smaller
network may not reach, is left to the labels. The temperature that follows is the paper's base
temperature. No method of its own: methods that compare logits have it as an option.
"""

import torch
from torch import Tensor

EPSILON = 1e-7
"""What the paper's code adds to the standard deviation."""


def standardise(logits: Tensor) -> Tensor:
    """The z-scores of each row, by the unbiased standard deviation, as in the paper's code.

    Args:
        logits: Shape (N, K), K ≥ 2.

    Returns:
        Shape (N, K), at least float32; 0 for a row whose logits are all the same.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    centred = wide - wide.mean(dim=1, keepdim=True)
    return centred / (centred.std(dim=1, keepdim=True) + EPSILON)
