"""How finely the student's layers are looked at; how it is pruned says the group ``pruning``."""

from typing import Annotated

from pydantic import Field, PositiveInt, field_validator

from model_compression.parameters import Parameters


class SensitivityParameters(Parameters):
    """Shares that go from one layer at a time, and the images that the network is judged on."""

    ratios: list[Annotated[float, Field(gt=0, lt=1)]] = Field(min_length=1)
    """Of a layer's channels or weights, ascending; also those that the allocation chooses from."""
    images: PositiveInt | None = 2000
    """Validation images, classes in proportion; null: all."""

    @field_validator("ratios")
    @classmethod
    def _ratios_ascend(cls, ratios: list[float]) -> list[float]:
        if sorted(set(ratios)) != ratios:
            raise ValueError(f"ratios must ascend without a repetition, got {ratios}")
        return ratios
