"""Finds which channels of any network depend on each other, by running it once.

Every channel of every weight carries a label. While one image goes through the network, labels go
with the numbers through each ATen operator, which joins those that have to stay or go together
(``operators``). What is left are classes of labels; those that the same layers make compete with
each other, and are a ``ChannelGroup``.

Knows a network's tensors and operators, no architecture; what is cut is others' business.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from model_compression.evaluation import evaluating
from model_compression.models import WholeHeads, free_heads
from model_compression.pruning.groups import ChannelGroup, Members
from model_compression.pruning.labels import FREE, FROZEN, Labels, collapsed, connected
from model_compression.pruning.operators import COLUMNS, ROWS, Call, Facets, answer
from model_compression.pruning.selection import prunable_layers


def channel_groups(
    module: nn.Module, input_shape: Sequence[int], excluded: Iterable[str] = ()
) -> list[ChannelGroup]:
    """The channels that can be removed from a network, in groups that compete.

    Args:
        module: The network; it is left as it is.
        input_shape: (C, H, W) of one image.
        excluded: Paths of layers, or of modules with layers in them, that keep their outputs.

    Returns:
        The groups in the order of the network's weights. The images' channels and the logits are
        in none, nor is anything that depends on an operator whose channels can't be followed.

    Raises:
        ValueError: If an excluded path leads nowhere.
    """
    left = prunable_layers(module, excluded)
    kept = [path for path in prunable_layers(module) if path not in left]
    network = copy.deepcopy(module).requires_grad_(False).to("cpu")
    free_heads(network)
    tracer = _Tracer(network)
    for path in kept:
        tracer.freeze(f"{path}.weight" if path else "weight")
    tracer.run(torch.zeros(1, *input_shape))
    return _groups(tracer)


_NOWHERE = -1
"""Instead of a dimension: no single cut along one removes what is to go."""


@dataclass(frozen=True)
class _Axis:
    """One dimension of one tensor, and the class that each of its indices is of."""

    tensor: str
    dim: int
    classes: NDArray[np.int64]


class _Tracer(TorchDispatchMode):
    """Carries labels through every operator that is called within it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.network = network
        self.labels = Labels()
        self.weights: dict[str, Facets] = {}
        """By name, labels of rows and columns."""
        self.vectors: dict[str, Tensor] = {}
        """By name, a label an element of what is not multiplied with."""
        self.transposed: set[str] = set()
        self._attention = 0
        self._facets: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._mark()

    def freeze(self, name: str) -> None:
        """Makes the outputs of a weight stay."""
        if name in self.weights:
            self.labels.freeze(self.weights[name][ROWS])

    def run(self, images: Tensor) -> None:
        """Sends images through the network; their channels and the outputs stay."""
        self._facets[images] = (torch.tensor(FROZEN).expand(images.shape),)
        with evaluating(self.network), torch.no_grad(), self._within_attention(), self:
            output = self.network(images)
        for tensor in _all_tensors(output):
            for labels in self._facets.get(tensor, ()):
                self.labels.freeze(labels)

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Computes the operator, and the labels of what it gives."""
        output = function(*args, **(kwargs or {}))
        outputs = _all_tensors(output)
        if outputs:
            call = Call(
                function._schema.name.removeprefix("aten::").rstrip("_"),
                function,
                args,
                kwargs or {},
                output,
                self._of,
                self.labels,
                self._attention > 0,
            )
            for tensor, facets in zip(outputs, answer(call), strict=False):
                if facets:
                    self._facets[tensor] = facets
                else:
                    self._facets.pop(tensor, None)
        return output

    def _of(self, value: object) -> Facets:
        return self._facets.get(value, ()) if isinstance(value, Tensor) else ()

    def _mark(self) -> None:
        """Gives labels to every parameter and every buffer that is stored with them."""
        stored = self.network.state_dict(keep_vars=True)
        for name, tensor in stored.items():
            if tensor in self._facets or not tensor.is_floating_point() or tensor.ndim == 0:
                continue
            owner = self.network.get_submodule(name.rpartition(".")[0])
            if _multiplies(owner, tensor):
                self._facets[tensor] = self.weights[name] = self._weight(owner, tensor, name)
            else:
                labels = self.labels.new(tensor.numel()).reshape(tensor.shape)
                self._facets[tensor], self.vectors[name] = (labels,), labels
        for buffer in self.network.buffers():
            # It is not in the file, so that a narrower one could not be rebuilt.
            if buffer not in self._facets and buffer.is_floating_point() and buffer.ndim:
                self._facets[buffer] = (torch.tensor(FROZEN).expand(buffer.shape),)

    def _weight(self, owner: nn.Module, tensor: Tensor, name: str) -> Facets:
        rows_dim, columns_dim = 0, 1
        if isinstance(owner, _ConvTransposeNd):
            rows_dim, columns_dim = 1, 0
            self.transposed.add(name)
        return tuple(
            _along(self.labels.new(tensor.shape[dim]), dim, tensor.ndim).expand(tensor.shape)
            for dim in (rows_dim, columns_dim)
        )

    def _within_attention(self) -> "_AttentionWatch":
        return _AttentionWatch(self)


class _AttentionWatch:
    """While it is entered, the tracer knows whether it is inside of attention."""

    def __init__(self, tracer: _Tracer) -> None:
        self._tracer = tracer
        self._hooks: list[Any] = []

    def __enter__(self) -> None:
        def enter(*_: Any) -> None:
            self._tracer._attention += 1

        def leave(*_: Any) -> None:
            self._tracer._attention -= 1

        for part in self._tracer.network.modules():
            if isinstance(part, WholeHeads):
                self._hooks.append(part.register_forward_pre_hook(enter))
                self._hooks.append(part.register_forward_hook(leave))

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()


def _multiplies(owner: nn.Module, tensor: Tensor) -> bool:
    """Whether a tensor has rows and columns, as other modules' tables and scales have not."""
    layer = isinstance(owner, nn.Linear | _ConvNd | nn.Bilinear)
    return tensor.ndim >= 2 and (layer or isinstance(owner, nn.MultiheadAttention))


def _groups(tracer: _Tracer) -> list[ChannelGroup]:
    axes = _axes(tracer)
    usable = _usable(axes)
    family = _families(axes["makes"], usable)
    first: dict[int, str] = {}
    unit_of: dict[int, tuple[int, int]] = {}
    counts: Counter[int] = Counter()
    for axis in axes["makes"]:
        for each in axis.classes.tolist():
            if each in usable and each not in unit_of:
                mine = family[each]
                first.setdefault(mine, axis.tensor)
                unit_of[each] = (mine, counts[mine])
                counts[mine] += 1
    parts: dict[int, dict[str, list[Members]]] = {
        mine: {role: [] for role in axes} for mine in first
    }
    for role, some in axes.items():
        for axis in some:
            for mine, members in _members(axis, unit_of):
                parts[mine][role].append(members)
    return [
        ChannelGroup(
            name=weight.rpartition(".")[0],
            units=counts[mine],
            width=len(parts[mine]["makes"][0].index) // counts[mine],
            makes=tuple(parts[mine]["makes"]),
            takes=tuple(parts[mine]["takes"]),
            follows=tuple(parts[mine]["follows"]),
        )
        for mine, weight in first.items()
        if counts[mine] > 1
    ]


def _axes(tracer: _Tracer) -> dict[str, list[_Axis]]:
    """The dimensions that make channels, that read them, and that have a value for each."""
    axes: dict[str, list[_Axis]] = {"makes": [], "takes": [], "follows": []}
    for name, facets in tracer.weights.items():
        rows_dim, columns_dim = (1, 0) if name in tracer.transposed else (0, 1)
        for role, labels, dim in (
            ("makes", facets[ROWS], rows_dim),
            ("takes", facets[COLUMNS], columns_dim),
        ):
            classes = tracer.labels.classes(collapsed(labels).reshape(-1))
            axes[role].append(_Axis(name, dim, classes.numpy()))
    for name, labels in tracer.vectors.items():
        axes["follows"].append(_only_axis(name, tracer.labels.classes(labels).numpy()))
    return axes


def _only_axis(name: str, classes: NDArray[np.int64]) -> _Axis:
    """The dimension along which the classes of a tensor vary, if it is one."""
    dims = [dim for dim in range(classes.ndim) if (classes != classes.take([0], dim)).any()]
    if len(dims) != 1:
        return _Axis(name, _NOWHERE, np.unique(classes))
    size = classes.shape[dims[0]]
    return _Axis(name, dims[0], np.moveaxis(classes, dims[0], 0).reshape(size, -1)[:, 0])


def _usable(axes: Mapping[str, list[_Axis]]) -> set[int]:
    """The classes that some layer makes, and that can go from wherever they are."""
    made = {each for axis in axes["makes"] for each in axis.classes.tolist()}
    stuck = {
        each for axis in axes["follows"] if axis.dim == _NOWHERE for each in axis.classes.tolist()
    }
    return made - stuck - {FREE, FROZEN}


def _families(makes: list[_Axis], usable: set[int]) -> dict[int, int]:
    """By class, a number that it shares with the classes that the same layers make."""
    position = {each: place for place, each in enumerate(sorted(usable))}
    links = []
    for axis in makes:
        places = [position[each] for each in axis.classes.tolist() if each in usable]
        links += [(places[0], place) for place in places[1:]]
    pairs = np.array(links, dtype=np.int64).reshape(-1, 2)
    components = connected(pairs.T, len(position))
    return {each: int(components[place]) for each, place in position.items()}


def _members(axis: _Axis, unit_of: dict[int, tuple[int, int]]) -> Iterator[tuple[int, Members]]:
    """What of one dimension belongs to each family."""
    found: dict[int, tuple[list[int], list[int]]] = {}
    for index, each in enumerate(axis.classes.tolist()):
        if each in unit_of:
            mine, unit = unit_of[each]
            indices, units = found.setdefault(mine, ([], []))
            indices.append(index)
            units.append(unit)
    for mine, (indices, units) in found.items():
        yield mine, Members(axis.tensor, axis.dim, torch.tensor(indices), torch.tensor(units))


def _along(vector: Tensor, dim: int, ndim: int) -> Tensor:
    return vector.reshape([-1 if each == dim else 1 for each in range(ndim)])


def _all_tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for each in value for tensor in _all_tensors(each)]
    return []
