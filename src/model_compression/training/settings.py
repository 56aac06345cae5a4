"""How a network is trained: the typed parameters that every training stage shares.

Knows neither networks nor data.
"""

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from model_compression.images import AugmentationParameters
from model_compression.parameters import Parameters
from model_compression.training.hardware import Device, Precision, resolve_device
from model_compression.training.optimizers import AdamW, Sgd
from model_compression.training.schedules import OneCycle, WarmupCosine


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
    """``auto`` takes bfloat16 autocast where the hardware multiplies it natively."""
    channels_last: bool = True
    device: Device = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
    augmentation: AugmentationParameters | None = AugmentationParameters()
    """``null`` trains on the images as they are."""

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
