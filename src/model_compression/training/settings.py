"""How a network is trained: the typed parameters that every training stage shares.

Knows neither networks nor data.
"""

from typing import Annotated, Any, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from model_compression.fingerprint import IDENTITY
from model_compression.images import RESIDENT_SHARE, AugmentationParameters
from model_compression.parameters import Parameters
from model_compression.training.hardware import Device, Precision, resolve_device
from model_compression.training.optimizers import AdamW, Sgd
from model_compression.training.schedules import OneCycle, WarmupCosine
from model_compression.training.tuning import Auto, Choices

WAYS = ("device", "channels_last", "compile", "threads", "resident_share")
"""Settings that change a result by rounding alone, if at all, and so not what it is."""


class TrainingSettings(Parameters):
    """One stage's training: how long, with which optimiser and schedule, in which precision."""

    epochs: PositiveInt
    """Passes over the training images."""
    batch_size: PositiveInt = 128
    optimizer: Annotated[Sgd | AdamW, Field(discriminator="name")]
    schedule: Annotated[WarmupCosine | OneCycle, Field(discriminator="name")] = WarmupCosine()
    gradient_clip: PositiveFloat | None = None
    """Largest L2 norm of the whole gradient; ``null`` for none."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Decay a step of the exponential moving average that is validated and kept instead of the
    raw weights; ``null`` for none."""
    precision: Precision = "auto"
    """``auto`` takes bfloat16 autocast where the hardware multiplies it natively and is faster."""
    channels_last: bool | Auto = "auto"
    """Whether images and kernels lie in memory channel by channel of each pixel; ``auto``: what is
    faster here (see ``tuning.tune``), as in the two below."""
    compile: bool | Auto = "auto"
    """Whether the network is compiled by ``torch.compile``; ``auto`` tries it where a training
    takes long enough to pay for it."""
    threads: PositiveInt | Auto = "auto"
    """Of the CPU; ``auto``: as many as PyTorch has, or fewer where that is faster."""
    device: Device = "auto"
    """``auto`` is a GPU where PyTorch sees one."""
    resident_share: Annotated[float, Field(ge=0, le=1)] = RESIDENT_SHARE
    """A GPU keeps the images, and a teacher's answers, where each takes no more than this share of
    its free memory; otherwise they are streamed. 0 leaves it all to the network."""
    seed: Annotated[int, Field(ge=0)] = 0
    augmentation: AugmentationParameters | None = AugmentationParameters()
    """``null`` trains on the images as they are."""

    @property
    def choices(self) -> Choices:
        """How a step is computed, as far as it is fixed."""
        return Choices(self.precision, self.channels_last, self.compile, self.threads)

    @model_serializer(mode="wrap")
    def _without_ways_in_fingerprints(
        self, dump: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        if info.context == IDENTITY:
            return {name: value for name, value in values.items() if name not in WAYS}
        return values

    @field_validator("device")
    @classmethod
    def _device_is_there(cls, device: Device) -> Device:
        resolve_device(device)
        return device

    @model_validator(mode="after")
    def _warm_up_ends_before_training_does(self) -> Self:
        warmup = self.schedule.warmup_epochs
        if warmup >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs is {warmup:g}, but the training has {self.epochs} epochs "
                "in all: lower warmup_epochs or raise epochs"
            )
        return self
