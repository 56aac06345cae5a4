"""The initial weights of the zoo's own convolutional networks.

Knows layers only, not the networks that they are part of.
"""

from torch import nn


def initialise_convolutions(module: nn.Module) -> None:
    """Draws every convolution from Kaiming's normal distribution (He et al., 2015), in place.

    The mode is fan-out, which keeps the gradients' variance through a ReLU network. Batch norms
    (1 and 0) and linear layers (Kaiming uniform) keep PyTorch's own initialisation.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
