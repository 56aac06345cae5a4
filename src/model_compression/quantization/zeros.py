"""Finds the weights of a pruned network in its graph for quantization-aware training.

Knows how a prepared network's weights are named; what keeps them at zero is its caller's business.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from model_compression.quantization.qat import QatModel

_PREFIX = "prepared."


def carried_masks(model: QatModel, network: nn.Module, masked: Sequence[str]) -> dict[str, Tensor]:
    """Masks, in the names of ``model``, of the float network's weights that were pruned.

    Folding a batch norm scales the rows of a weight, so what was 0 is 0 there too, and nothing else
    has to be. A weight that several layers share may go by another of its names in the graph, or
    have become one for each of them; all are found.

    Args:
        model: The float network, prepared.
        network: The float network.
        masked: Names of its weights that have a mask; one whose layers the graph never runs is left
            out.

    Returns:
        By parameter name in ``model``, a bool tensor; False where the float weight is exactly 0.

    Raises:
        ValueError: If a name is none of the weights', or a weight of another shape in the graph.
    """
    parameters = dict(model.named_parameters())
    weights = dict(network.named_parameters(remove_duplicate=False))
    masks = {}
    for name in masked:
        if name not in weights:
            raise ValueError(
                f"the pruned checkpoint says that {name!r} has a mask, but has no such weight: run "
                "the pruning pipeline again"
            )
        mask = weights[name].detach() != 0
        for same in (other for other, weight in weights.items() if weight is weights[name]):
            parameter = parameters.get(f"{_PREFIX}{same}")
            if parameter is None:
                continue
            if parameter.shape != mask.shape:
                raise ValueError(
                    f"{name!r} is of shape {tuple(mask.shape)} in the pruned checkpoint and of "
                    f"shape {tuple(parameter.shape)} in the graph for quantization: give the "
                    "network that the graph was prepared from"
                )
            masks[f"{_PREFIX}{same}"] = mask
    return masks
