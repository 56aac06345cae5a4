"""Distillation by where a network looks: attention transfer (Zagoruyko & Komodakis, ICLR 2017).

Eq. 2 with the maps of section 3.1:

    Σ_j ‖ Q_S^j / ‖Q_S^j‖₂ - Q_T^j / ‖Q_T^j‖₂ ‖²,  Q^j = vec( Σ_c |A_c^j|^p )

Knows where a map is large, not in which channels, nor how large.
"""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.maps import SumOverLayers, at_least_float32, same_size
from model_compression.distillation.transfer import FeatureMethod, Probe, Transfer


def at_loss(student: Tensor, teacher: Tensor, power: float = 2.0) -> Tensor:
    """The mean over images and positions of (q_S - q_T)², q a map's normalised attention.

    Attention maps of different sizes are compared at the smaller one, as in the paper.

    Args:
        student: (N, C_s, H_s, W_s).
        teacher: (N, C_t, H_t, W_t).
        power: p ≥ 1; the larger, the more the largest activations count.

    Returns:
        A scalar ≥ 0; 0 where both look at the same places, whatever the scale of an image's map
        and the order of its channels.
    """
    q_student, q_teacher = same_size(_attention(student, power), _attention(teacher, power))
    return functional.mse_loss(
        functional.normalize(q_student.flatten(1)), functional.normalize(q_teacher.flatten(1))
    )


def _attention(map_: Tensor, power: float) -> Tensor:
    # The mean, as normalising makes it the sum: the squares of large maps stay finite.
    return at_least_float32(map_).abs().pow(power).mean(1, keepdim=True)


class AtSettings(FeatureMethod):
    """The student looks where its teacher looks, at every observed layer."""

    method: Literal["at"]
    weight: PositiveFloat = 100.0
    """β of the paper, where the squares are averaged over a map's positions. Its 1000 was worse
    than 100 on validation images (docs/how-to/choose-a-method.md)."""
    power: Annotated[float, Field(ge=1)] = 2.0
    """p of the attention maps."""

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    def transfer(self, probe: Probe) -> Transfer:
        """Learns nothing itself."""
        return SumOverLayers(partial(at_loss, power=self.power), self.weight)
