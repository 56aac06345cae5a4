"""Which bits are tried, and what their assignment has to meet."""

from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from model_compression.parameters import Parameters
from model_compression.quantization.settings import Bits


class BitSensitivityParameters(Parameters):
    """Bits of one layer at a time, the target of the assignment, and the images."""

    bits: list[Bits] = Field(min_length=2)
    """Descending; also those that the assignment chooses from."""
    mean_bits: Annotated[float, Field(ge=2, le=8)] | None = 4.0
    """Target: the mean over all weights."""
    max_accuracy_drop: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Target: as few bits as lose no more than this, before any training; a fraction."""
    images: PositiveInt | None = 2000
    """Validation images, classes in proportion; null: all."""

    @model_validator(mode="after")
    def _bits_descend(self) -> Self:
        if sorted(set(self.bits), reverse=True) != self.bits:
            raise ValueError(f"bits must descend without a repetition, got {self.bits}")
        if (self.mean_bits is None) == (self.max_accuracy_drop is None):
            raise ValueError(
                "give one target: mean_bits or max_accuracy_drop, and set the other to null"
            )
        if self.mean_bits is not None and not self.bits[-1] <= self.mean_bits <= self.bits[0]:
            raise ValueError(
                f"mean_bits is {self.mean_bits:g}, but bits run from {self.bits[-1]} to "
                f"{self.bits[0]}: give it a value between them, or other bits"
            )
        return self
