"""How a network is brought to few bits: the choices of a parameter file.

Know layers by their paths; neither networks nor how a choice is carried out.
"""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, PositiveInt, model_validator

from model_compression.parameters import Parameters
from model_compression.quantization.adaround import AdaRoundSettings
from model_compression.quantization.formula import LARGEST_INTEGER, Sharing
from model_compression.quantization.ranges import Mse, Percentile, RangeMethod

FLOAT_BITS = 32
"""What ``bits`` says of a layer whose weights stay floats."""

BYTE_BITS = 8
REDUCED_BITS = 7
REDUCED_INTEGER = 63
"""Twice 255 times it still fits into the 16 bits of ``vpmaddubsw``."""

Bits = Annotated[int, Field(ge=2, le=8)]
LayerBits = Annotated[int, Field(ge=2, le=FLOAT_BITS)]

GridKind = Literal["max", "fixed", "learned", "codebook"]
Activations = Literal["static", "dynamic", "none"]
ActivationGrid = Literal["affine", "symmetric"]


class WeightGrid(NamedTuple):
    """The numbers that one layer's weights may be."""

    kind: GridKind
    bits: int
    sharing: Sharing
    reduced: bool = False

    @property
    def largest(self) -> int:
        """The largest integer that a weight of the layer is stored as."""
        if self.kind == "codebook":
            return REDUCED_INTEGER if self.reduced else LARGEST_INTEGER
        return int(2 ** (self.bits - 1) - 1)


class Guard(Parameters):
    """What the quantized network may lose against the one that it was made from."""

    max_accuracy_drop: Annotated[float, Field(ge=0, lt=1)]
    """Largest loss of accuracy on the validation images, as a fraction: 0.005 is half a point."""
    certain: bool = False
    """Whether the upper end of the loss's 95 % interval, paired over the images, must be no larger
    either, not only the loss itself."""


class WeightSettings(Parameters):
    """What all methods say of weights."""

    weight_bits: Bits = 8
    """Bits of a weight."""
    bits: dict[str, LayerBits] = Field(default={})
    """Other bits for single layers, by path, such as ``stages.0.0.conv1: 4``; 32 leaves the
    layer's weights floats."""
    end_bits: Bits | None = None
    """Bits of the first and the last layer; ``null``: as the others."""
    sharing: Sharing = "channel"
    """``channel``: each output channel has a step of its own; ``tensor``: a layer has one."""
    reduce_range: bool = True
    """Whether no weight is stored as an integer beyond 63, 7 bits instead of 8: x86 CPUs without
    VNNI add two products of bytes in 16 bits, which saturate beyond. ``False`` is for files that
    no such CPU will ever run."""
    guard: Guard | None = None
    """``null``: whatever accuracy comes out is taken."""

    @model_validator(mode="after")
    def _bits_are_bytes_or_floats(self) -> Self:
        for layer, bits in self.bits.items():
            if 8 < bits < FLOAT_BITS:
                raise ValueError(
                    f"bits of {layer} is {bits}: expected 2 to 8, or {FLOAT_BITS} to leave its "
                    "weights floats"
                )
        return self

    @property
    def activations(self) -> Activations:
        """When the activations' ranges are known."""
        return "static"

    @property
    def grid_of_activations(self) -> ActivationGrid:
        """Where the zero point of an activation may be."""
        return "affine"

    @property
    def is_range_reduced(self) -> bool:
        """Whether integers end at 63; nothing saturates where weights meet floats."""
        return self.reduce_range and self.activations != "none"

    @property
    def most_bits(self) -> int:
        """What a weight has that is asked to have 8 bits. A codebook's entries have no order."""
        reduced = self.is_range_reduced and self.kind() != "codebook"
        return REDUCED_BITS if reduced else BYTE_BITS

    @property
    def keeps_norms(self) -> bool:
        """Whether batch norms stay while the network is on its grid."""
        return False

    def kind(self) -> GridKind:
        """Of the weights' grids."""
        return "max"

    def grid(self, layer: str, is_end: bool = False) -> WeightGrid | None:
        """The grid of a layer's weights; ``None`` where they stay floats.

        Args:
            layer: Its path.
            is_end: Whether it is the first or the last.
        """
        bits = self.bits.get(layer)
        if bits is None:
            bits = self.end_bits if is_end and self.end_bits is not None else self.weight_bits
        if bits == FLOAT_BITS:
            return None
        return WeightGrid(
            self.kind(), min(bits, self.most_bits), self.sharing, self.is_range_reduced
        )

    def with_bits(self, bits: dict[str, int]) -> Self:
        """The same choices with other bits for single layers."""
        return self.model_copy(update={"bits": {**self.bits, **bits}})


class QatSettings(WeightSettings):
    """Quantization-aware training: the network learns to live with its grid."""

    method: Literal["qat"] = "qat"
    grid_steps: Literal["max", "learned", "codebook"] = "max"
    """Where a weight's step comes from: ``max``, the largest weight; ``learned``, trained with the
    weights (LSQ); ``codebook``: no steps but 2^bits values that a layer's weights share."""
    batch_norms: Literal["keep", "fold"] | None = None
    """``keep``: they normalise throughout the training and are folded into the layers, and their
    factors into the weights' steps, afterwards; ``fold``: before it. ``null``: kept where each
    channel has a step of its own."""
    activation_grid: ActivationGrid = "affine"
    """``affine``: as fine as an activation's range allows; ``symmetric``: one that has values below
    0 has its zero point in the middle, which OpenVINO multiplies faster on CPUs with AMX."""
    averaging: float = Field(default=0.01, gt=0, le=1)
    """Weight of the newest batch in the moving range of an activation."""
    freeze_ranges_after_epoch: int | None = Field(default=1, ge=0)
    """Epochs after which the activations' ranges stand still; null: they always follow."""

    @model_validator(mode="after")
    def _kept_norms_have_steps_to_go_into(self) -> Self:
        if self.batch_norms == "keep" and self.sharing == "tensor":
            raise ValueError(
                "batch_norms is keep and sharing is tensor: a kept batch norm ends as a factor of "
                "each channel's step, so a layer would not share one: take sharing channel, or "
                "batch_norms fold"
            )
        return self

    @property
    def grid_of_activations(self) -> ActivationGrid:
        """As the settings say."""
        return self.activation_grid

    @property
    def keeps_norms(self) -> bool:
        """As the settings say."""
        return (self.batch_norms or "keep") == "keep" and self.sharing == "channel"

    def kind(self) -> GridKind:
        """As the settings say."""
        return self.grid_steps


class PostTrainingSettings(WeightSettings):
    """Quantization after training: nothing is learned but, if wanted, which way weights round."""

    grid_steps: Literal["fixed", "codebook"] = "fixed"
    """``fixed``: steps from ``weight_range``; ``codebook``: 2^bits values that a layer's weights
    share, by k-means."""
    weight_range: RangeMethod = Mse()
    """What of the weights the steps cover."""
    equalise: bool = False
    """Whether channels are first scaled so that a layer and the next have equal ranges."""
    rounding: AdaRoundSettings | None = None
    """How it is learned which way each weight rounds; ``null``: to the nearest."""
    correct_biases: bool = True
    """Whether biases take up what quantization has added to a channel's mean."""
    images: PositiveInt = 2048
    """Training images that ranges, corrections and rounding look at, without augmentation."""

    def kind(self) -> GridKind:
        """As the settings say."""
        return self.grid_steps

    @model_validator(mode="after")
    def _rounding_has_steps(self) -> Self:
        if self.rounding is not None and self.grid_steps == "codebook":
            raise ValueError(
                "rounding is learned between two neighbours of a grid of equal steps: take "
                "grid_steps fixed, or set rounding to null"
            )
        return self


class StaticSettings(PostTrainingSettings):
    """Weights and activations, whose ranges are taken from training images beforehand."""

    method: Literal["static"]
    activation_range: RangeMethod = Percentile(share=0.9999)
    """What of an activation its range covers."""
    activation_grid: ActivationGrid = "affine"
    """As of quantization-aware training."""

    @property
    def grid_of_activations(self) -> ActivationGrid:
        """As the settings say."""
        return self.activation_grid


class DynamicSettings(PostTrainingSettings):
    """Weights, and what linear layers read, by the range of each batch as it comes.

    Convolutions compute in floats, as with ``weight_only``. Nothing is measured beforehand, so the
    images serve the correction of biases and learned rounding alone.
    """

    method: Literal["dynamic"]

    @property
    def activations(self) -> Activations:
        """Batch by batch."""
        return "dynamic"


class WeightOnlySettings(PostTrainingSettings):
    """Weights alone: a smaller file that computes in floats."""

    method: Literal["weight_only"]

    @property
    def activations(self) -> Activations:
        """They stay floats."""
        return "none"


QuantizationMethod = Annotated[
    QatSettings | StaticSettings | DynamicSettings | WeightOnlySettings,
    Field(discriminator="method"),
]
