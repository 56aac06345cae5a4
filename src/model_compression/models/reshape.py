"""Rebuilds a network whose channels have been pruned: its weights tell how wide each layer is.

Knows layers and shapes; neither who pruned them nor where the weights were stored.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from model_compression.models.architecture import ModelError
from model_compression.models.attention import free_heads
from model_compression.models.spec import ModelSpec, construct, probe

_SHOWN = 5


class WeightsError(ModelError):
    """Weights that aren't those of the network they were given for."""


def build_with_weights(spec: ModelSpec, weights: Mapping[str, Tensor]) -> nn.Module:
    """Builds the network of ``spec``, as wide as ``weights`` are, and loads them bit by bit.

    Every layer gets the shape of its stored weights: convolutions (also grouped ones), linear
    layers, norms, PReLU, and any other module's own parameters and buffers. Torch's random state
    is left as it was.

    Args:
        spec: What the network was before it was pruned.
        weights: Its ``state_dict()``, all of it.

    Returns:
        The network, on the CPU and in training mode, with memory of its own.

    Raises:
        WeightsError: If a tensor is missing, unexpected or incompatible (naming it), or if the
            layers don't fit together.
        ModelError: If the network of ``spec`` can't be built at all.
    """
    with torch.random.fork_rng(devices=[]):
        model = construct(spec)
    _check(spec.name, model, weights)
    try:
        fit_to(model, weights, lambda: probe(model, spec))
    except ModelError as error:
        raise WeightsError(f"the weights' shapes don't fit together: {error}") from error
    return model


def fit_to(model: nn.Module, weights: Mapping[str, Tensor], run: Callable[[], object]) -> None:
    """Makes a network, in place, as wide as ``weights`` are, and loads them bit by bit.

    Attention gets a free number of heads where the weights are of other shapes than the network's.

    Args:
        model: On any device, ``meta`` too.
        weights: Of its names, all of them, on the same device.
        run: Sends images through ``model`` once, so that grouped convolutions see how many channels
            arrive.

    Raises:
        Exception: Whatever ``run`` raises, if the shapes don't fit together.
    """
    built = model.state_dict()
    if any(weights[name].shape != tensor.shape for name, tensor in built.items()):
        free_heads(model)
    _give_shapes(model, weights)
    _load(model, weights)
    with _groups_from_inputs(model):
        run()


def _check(name: str, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raises unless both have the same names and, name by name, alike tensors."""
    built: dict[str, Tensor] = model.state_dict()
    convolutions = {
        _join(path, "weight") for path, module in model.named_modules() if _is_convolution(module)
    }
    incompatible = [
        f"{key} ({_described(weights[key])}, expected {_described(tensor)})"
        for key, tensor in built.items()
        if key in weights and not _alike(tensor, weights[key], key in convolutions)
    ]
    faults = {
        "missing": [key for key in built if key not in weights],
        "unexpected": [key for key in weights if key not in built],
        "incompatible": incompatible,
    }
    if any(faults.values()):
        listed = "; ".join(f"{kind}: {_shortened(keys)}" for kind, keys in faults.items() if keys)
        raise WeightsError(
            f"these weights aren't those of a {name!r}. {listed}. Use the spec, with its options, "
            "that they were trained with"
        )


def _alike(built: Tensor, stored: Tensor, is_convolution: bool) -> bool:
    """Whether one can be a pruned form of the other: only numbers of channels may differ."""
    same_kernel = not is_convolution or built.shape[2:] == stored.shape[2:]
    return built.dtype == stored.dtype and built.ndim == stored.ndim and same_kernel


def _give_shapes(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Replaces every tensor of another shape than its stored one, and says so to its layer."""
    # A tensor that several layers share stays shared.
    replaced: dict[Tensor, Tensor] = {}
    for path, module in model.named_modules():
        parameters = list(module.named_parameters(recurse=False))
        buffers = list(module.named_buffers(recurse=False))
        for key, old in [*parameters, *buffers]:
            stored = weights.get(_join(path, key))
            if stored is None or stored.shape == old.shape:
                continue
            new = torch.empty(stored.shape, dtype=old.dtype, device=old.device)
            if isinstance(old, nn.Parameter):
                new = nn.Parameter(new, requires_grad=old.requires_grad)
            setattr(module, key, replaced.setdefault(old, new))
        _tell_layer(module)


def _tell_layer(module: nn.Module) -> None:
    """Sets the sizes that a layer keeps beside its tensors, where its tensors tell them."""
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        module.embed_dim = module.kdim = module.vdim = module.in_proj_weight.shape[1]
        module.num_heads = module.in_proj_weight.shape[0] // (3 * module.head_dim)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return
    shape = weight.shape
    if _is_convolution(module):
        module.in_channels, module.out_channels = shape[1] * module.groups, shape[0]
    elif isinstance(module, nn.Linear):
        module.in_features, module.out_features = shape[1], shape[0]
    elif isinstance(module, _NormBase):
        module.num_features = shape[0]
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(shape)
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = shape[0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = shape[0]


def _load(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    state = OrderedDict(weights)
    # MNASNet, for one, takes a state without its modules' versions for one of an older network.
    state._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    model.load_state_dict(state)


@contextmanager
def _groups_from_inputs(model: nn.Module) -> Iterator[None]:
    """Within it, a forward pass sets the groups of every grouped convolution.

    A weight of shape (outputs, inputs per group, ...) doesn't tell whether groups were removed (as
    in a depthwise convolution) or made smaller; the channels that arrive do.
    """
    hooks = [
        layer.register_forward_pre_hook(_set_groups)
        for layer in model.modules()
        if _is_convolution(layer) and layer.groups > 1
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _set_groups(layer: _ConvNd, inputs: tuple[Tensor]) -> None:
    channels, per_group = inputs[0].shape[1], layer.weight.shape[1]
    layer.in_channels, layer.groups = channels, channels // per_group


def _is_convolution(module: nn.Module) -> TypeGuard[_ConvNd]:
    """Whether it has a weight of shape (outputs, inputs / groups, ...); transposed ones differ."""
    return isinstance(module, _ConvNd) and not isinstance(module, _ConvTransposeNd)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _shortened(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
