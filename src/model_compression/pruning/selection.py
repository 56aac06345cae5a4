"""Finds the layers that may be pruned, and says so clearly where a setting names none of them.

Knows module paths; what is done to the layers is others' business.
"""

from collections.abc import Iterable

from torch import nn

PRUNABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def prunable_layers(module: nn.Module, excluded: Iterable[str] = ()) -> dict[str, nn.Module]:
    """The convolutions and linear layers by their paths, in order, but the excluded ones.

    Args:
        module: The network.
        excluded: Paths of layers, or of modules that contain layers.

    Raises:
        ValueError: If a path leads to no such layer; the message lists those that there are.
    """
    layers = {path: layer for path, layer in module.named_modules() if isinstance(layer, PRUNABLE)}
    left = dict(layers)
    for exclusion in excluded:
        inside = [path for path in layers if path == exclusion or path.startswith(f"{exclusion}.")]
        if not inside:
            raise ValueError(
                f"excluded: {exclusion!r} is no layer of this network, nor a module with layers in "
                f"it. Its layers are: {', '.join(layers) or 'none'}."
            )
        for path in inside:
            left.pop(path, None)
    return left
