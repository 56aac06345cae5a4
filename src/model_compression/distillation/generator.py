"""Images out of noise: a small convolutional generator that is trained beside a student.

Knows the shape of an image; what makes an image a good one is its user's business.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.2
"""Slope of the activation functions below zero."""

BETAS = (0.5, 0.999)
"""Adam's, as is usual for generators (DCGAN, Radford et al., ICLR 2016)."""


class Generator(nn.Module):
    """From noise (N, latent) to images (N, C, H, W): two steps of upsampling by two.

    The upper step is a sub-pixel convolution (Shi et al., CVPR 2016): all convolutions run at half
    of the images' size or below, which is what makes it affordable beside a small student. A tanh
    and a batch norm without weights end it, as in DAFL: every channel of a batch has mean 0 and
    variance 1, as normalised images have.

    Args:
        input_shape: (C, H, W) of one image; any size, odd ones are cut from the next even one.
        latent: Numbers of noise an image.
        width: Channels of its widest layers, even.
    """

    def __init__(self, input_shape: tuple[int, int, int], latent: int, width: int) -> None:
        super().__init__()
        self._input_shape = input_shape
        channels, height, width_in_pixels = input_shape
        self._half = (-(-height // 2), -(-width_in_pixels // 2))
        self._quarter = (-(-height // 4), -(-width_in_pixels // 4))
        self.project = nn.Linear(latent, width * self._quarter[0] * self._quarter[1])
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width // 2, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, 4 * channels, 3, padding=1)
        self.norm4 = nn.BatchNorm2d(channels, affine=False)

    def forward(self, noise: Tensor) -> Tensor:
        """Images of noise; float32 under autocast too."""
        _, height, width = self._input_shape
        x = self.norm1(self.project(noise).unflatten(1, (-1, *self._quarter)))
        x = functional.interpolate(x, self._half)
        x = functional.leaky_relu(self.norm2(self.conv1(x)), LEAK)
        x = functional.leaky_relu(self.norm3(self.conv2(x)), LEAK)
        x = functional.pixel_shuffle(self.conv3(x), 2)[:, :, :height, :width]
        images: Tensor = self.norm4(x.float().tanh())
        return images


class GeneratorTraining(nn.Module):
    """A generator with its own Adam: stored and moved with its owner, but not optimised by it.

    The generator is no sub-module, so ``parameters()`` of whoever owns this has nothing of it, and
    the training loop's optimiser leaves it alone. ``state_dict()`` has its weights and Adam's
    moments, so that a resumed training goes on as if it had not paused.

    Args:
        generator: What is trained.
        learning_rate: Adam's.
    """

    def __init__(self, generator: Generator, learning_rate: float) -> None:
        super().__init__()
        # In a tuple, for nn.Module registers a module that is assigned to it as a sub-module.
        self._held = (generator,)
        self._adam = torch.optim.Adam(generator.parameters(), learning_rate, BETAS)
        for parameter in generator.parameters():
            # As Adam itself would at the first step; it has to be there when a state is loaded.
            self._adam.state[parameter] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    @property
    def generator(self) -> Generator:
        """What is trained, always in training mode."""
        return self._held[0]

    def descend(self, loss: Tensor) -> None:
        """One step of Adam down ``loss``; no gradient is left in any other network."""
        parameters = list(self.generator.parameters())
        # Not backward(), which would also fill the gradients of the student that was asked.
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss, parameters), strict=True
        ):
            parameter.grad = gradient
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        # Autocast would go on using the copies that it made of the weights before this step.
        torch.clear_autocast_cache()

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name; the tensors themselves."""
        tensors: dict[str, Tensor] = self.generator.state_dict(prefix="generator.", keep_vars=True)
        for name, parameter in self.generator.named_parameters():
            slots = self._adam.state[parameter]
            tensors |= {f"adam.{name}.{slot}": value for slot, value in slots.items()}
        return tensors

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        for name, tensor in self._tensors().items():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()

    @torch.no_grad()
    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        tensors = {prefix + name: tensor for name, tensor in self._tensors().items()}
        missing_keys += [key for key in tensors if key not in state_dict]
        unexpected_keys += [
            key for key in state_dict if key.startswith(prefix) and key not in tensors
        ]
        for key in tensors.keys() & state_dict.keys():
            came, here = state_dict[key], tensors[key]
            if came.shape == here.shape:
                here.copy_(came)
            else:
                error_msgs.append(
                    f"size mismatch for {key}: the stored tensor has the shape "
                    f"{tuple(came.shape)}, this generator's {tuple(here.shape)}"
                )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.generator._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for slots in self._adam.state.values():
            slots |= {slot: fn(value) for slot, value in slots.items()}
        return self
