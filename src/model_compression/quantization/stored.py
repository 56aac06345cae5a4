"""Rebuilds a quantized network from its checkpoint alone, also one whose channels were pruned.

Knows checkpoints and how a prepared network's tensors are named; files are the models room's.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.fx import GraphModule

from model_compression.models import Checkpoint, CheckpointError, build_model, build_with_weights
from model_compression.quantization.capture import norm_owners
from model_compression.quantization.qat import QatModel, convert, regrid, restore
from model_compression.quantization.settings import FLOAT_BITS, QuantizationMethod, WeightSettings

_PREFIX = "prepared."
_METHOD: TypeAdapter[WeightSettings] = TypeAdapter(QuantizationMethod)


def load_quantized(checkpoint: Checkpoint) -> GraphModule:
    """The int8 network of a ``qat`` checkpoint, ready for export, in evaluation mode on the CPU.

    Raises:
        CheckpointError: If the checkpoint holds a float network, or does not say how it was
            quantized.
        ValueError: If its weights are not those of its spec's network prepared for quantization.
    """
    return convert(restore_checkpoint(checkpoint))


def restore_checkpoint(checkpoint: Checkpoint) -> QatModel:
    """The network of a ``qat`` checkpoint on its grid, not yet converted; raises the same."""
    return restore(
        _stand_in(checkpoint),
        checkpoint.spec.input_shape,
        checkpoint.weights,
        settings_of(checkpoint),
    )


def float_layers(checkpoint: Checkpoint) -> list[str]:
    """Paths of the layers whose weights were left floats; none of a float network's."""
    if checkpoint.graph != "qat":
        return []
    return [path for path, bits in settings_of(checkpoint).bits.items() if bits == FLOAT_BITS]


def regrid_checkpoint(
    checkpoint: Checkpoint, model: QatModel, settings: WeightSettings
) -> QatModel:
    """The network that ``restore_checkpoint`` has given, under other settings (``regrid``)."""
    return regrid(model, _stand_in(checkpoint), checkpoint.spec.input_shape, settings)


def _stand_in(checkpoint: Checkpoint) -> nn.Module:
    if checkpoint.graph != "qat":
        raise CheckpointError(
            f"the {checkpoint.stage} checkpoint holds a float network, not one prepared for "
            "quantization: use its build()"
        )
    spec = checkpoint.spec
    with torch.random.fork_rng(devices=[]):
        unpruned = build_model(spec)
    return build_with_weights(spec, float_stand_in(unpruned, spec.input_shape, checkpoint.weights))


def settings_of(checkpoint: Checkpoint) -> WeightSettings:
    """How the network of a checkpoint was quantized.

    Raises:
        CheckpointError: If the checkpoint does not say.
    """
    try:
        return _METHOD.validate_python(checkpoint.details["quantization"])
    except (KeyError, ValidationError) as error:
        raise CheckpointError(
            f"the {checkpoint.stage} checkpoint does not say how it was quantized ({error}): run "
            "the quantization pipeline again"
        ) from error


def float_stand_in(
    module: nn.Module, input_shape: Sequence[int], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A float state of the widths that a quantized network's weights have.

    A quantized network has no batch norms any more, so the stand-in's are neutral: as wide as the
    layer that took them in, mean 0, variance 1. Its layers hold the quantized network's folded
    weights; only shapes matter to ``restore``.

    Args:
        module: The float network of the same architecture, at any width.
        input_shape: (C, H, W) of one image.
        weights: ``QatModel.state_dict()``.

    Raises:
        ValueError: If a layer of ``module`` has no weight among them.
    """
    owners = norm_owners(module, input_shape)
    layers = {f"{path}.weight" for path in owners.values()} | {
        name for name, _ in module.named_parameters() if name.rpartition(".")[0] not in owners
    }
    missing = sorted(name for name in layers if f"{_PREFIX}{name}" not in weights)
    if missing:
        raise ValueError(
            "These weights are not those of this network prepared for quantization: "
            f"{', '.join(missing)} missing. Use the checkpoint's own spec."
        )
    state: dict[str, Tensor] = {}
    for key, tensor in module.state_dict().items():
        path, _, name = key.rpartition(".")
        if path in owners and tensor.ndim == 1:
            width = weights[f"{_PREFIX}{owners[path]}.weight"].shape[0]
            state[key] = tensor.new_full((width,), float(name in ("weight", "running_var")))
        else:
            state[key] = weights.get(f"{_PREFIX}{key}", tensor)
    return state
