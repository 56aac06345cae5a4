"""What each kind of ATen operator says about channels: which go through, which are joined.

Knows operators and labels; which tensors are parameters, and what is cut in the end, is the
tracer's business. A rule that does not know an operator makes all channels that enter it stay, so
what is not understood is not pruned.

A tensor's labels are one int64 tensor of its shape, or two for a weight that is multiplied with:
its rows' (outputs) and its columns' (inputs). Repetitions cost no memory, as they have stride 0.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from model_compression.pruning.labels import FREE, Labels

Facets = tuple[Tensor, ...]
"""The labels of one tensor: (labels,), or (rows, columns) of a weight."""

ROWS, COLUMNS = 0, 1


class Call(NamedTuple):
    """One operator as it was called, and what it gave."""

    name: str
    """The ATen name without overload and without the underscore of the in-place form."""
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    facets: Callable[[object], Facets]
    """The labels of a tensor; none of one that carries none, or of what is no tensor."""
    labels: Labels
    whole_heads: bool
    """Whether it was called inside of attention, where a channel goes with all of its head."""

    def argument(self, index: int, name: str, default: Any = None) -> Any:
        """An argument, however it was passed."""
        if index < len(self.args):
            return self.args[index]
        return self.kwargs.get(name, default)

    @property
    def tensors(self) -> list[Tensor]:
        """Every tensor among the arguments, also within lists."""
        found = []
        for argument in (*self.args, *self.kwargs.values()):
            inside = argument if isinstance(argument, list | tuple) else [argument]
            found += [each for each in inside if isinstance(each, Tensor)]
        return found


Answer = list[Facets]
"""Labels of each output tensor, in order; an empty tuple for one without."""


def answer(call: Call) -> Answer:
    """The labels of what an operator gives, after it has joined what it makes depend."""
    if not any(call.facets(tensor) for tensor in call.tensors):
        return [() for _ in _tensors_of(call.output)]
    return _RULES.get(call.name, _unknown)(call)


def _tensors_of(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, list | tuple):
        return [each for each in output if isinstance(each, Tensor)]
    return []


def _unknown(call: Call) -> Answer:
    """Nothing that enters may go."""
    for tensor in call.tensors:
        for labels in call.facets(tensor):
            call.labels.freeze(labels)
    return [() for _ in _tensors_of(call.output)]


def _alone(call: Call, tensor: Tensor | None) -> Tensor | None:
    """The only labels of a tensor; those of a weight, which has two, stay."""
    facets = call.facets(tensor)
    if len(facets) == 1:
        return facets[0]
    for labels in facets:
        call.labels.freeze(labels)
    return None


# Operators that move elements: done to labels as to values.


def _moved(call: Call) -> Answer:
    return [tuple(_like(call, labels) for labels in call.facets(call.args[0]))]


def _like(call: Call, labels: Tensor) -> Tensor:
    """The operator, done to labels instead of the first argument."""
    moved: Tensor = call.function(labels, *call.args[1:], **call.kwargs)
    return moved


def _kept(call: Call) -> Answer:
    return [call.facets(call.args[0])]


def _laid_out(call: Call) -> Answer:
    """Another order in memory, as pooling of channels_last images asks for."""
    facets = call.facets(call.args[0])
    same = all(labels.shape == call.output.shape for labels in facets)
    return [facets] if same else _unknown(call)


def _viewed(call: Call) -> Answer:
    """A view merges channels with what lies beside them, or takes them apart.

    Where a dimension of channels is taken apart, the outer factor is taken to be fixed in the code
    (the groups of a shuffle) and the inner one to shrink: the same channels have to go everywhere.
    Within attention heads go as a whole, which the products there see to.
    """
    source, shape = call.args[0].shape, call.output.shape
    moved = tuple(labels.reshape(shape) for labels in call.facets(call.args[0]))
    if call.whole_heads:
        return [moved]
    for before, after in _regrouped(source, shape):
        inner = [dim for dim in after if shape[dim] > 1]
        split = [dim for dim in before if source[dim] > 1]
        if len(inner) < 2 or not split:
            continue
        for labels, result in zip(call.facets(call.args[0]), moved, strict=True):
            if not any(call.labels.vary(labels, dim) for dim in split):
                continue
            if len(split) > 1:
                call.labels.freeze(labels)
            for dim in inner[:-1]:
                call.labels.join_along(result, dim)
    return [moved]


def _regrouped(source: Sequence[int], shape: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Which dimensions of one shape become which of the other: least runs of equal products."""
    runs = []
    i = j = 0
    while i < len(source) or j < len(shape):
        before, after = [i] if i < len(source) else [], [j] if j < len(shape) else []
        i, j = i + len(before), j + len(after)
        left = math.prod(source[dim] for dim in before)
        right = math.prod(shape[dim] for dim in after)
        while left != right:
            if left < right:
                before.append(i)
                left, i = left * source[i], i + 1
            else:
                after.append(j)
                right, j = right * shape[j], j + 1
        runs.append((before, after))
    return runs


def _sliced(call: Call) -> Answer:
    """A part of a dimension: of channels only within attention, else the part's size is fixed."""
    dim = call.argument(1, "dim", 0) % call.args[0].ndim
    if call.output.shape != call.args[0].shape and not call.whole_heads:
        for labels in call.facets(call.args[0]):
            if call.labels.vary(labels, dim):
                call.labels.freeze(labels)
    return _moved(call)


def _selected(call: Call) -> Answer:
    dim = call.argument(1, "dim", 0) % call.args[0].ndim
    for labels in call.facets(call.args[0]):
        if call.labels.vary(labels, dim):
            call.labels.freeze(labels)
    return _moved(call)


def _split(call: Call) -> Answer:
    """Parts of a dimension of channels; the same have to go from each of them."""
    name = "dim"
    dim = call.argument(1 if call.name == "unbind" else 2, name, 0) % call.args[0].ndim
    parts = [_like_parts(call, labels) for labels in call.facets(call.args[0])]
    for labels, pieces in zip(call.facets(call.args[0]), parts, strict=True):
        if call.whole_heads or not call.labels.vary(labels, dim):
            continue
        if len({piece.shape for piece in pieces}) > 1 or call.name == "unbind":
            call.labels.freeze(labels)
            continue
        for piece in pieces[1:]:
            call.labels.join(pieces[0], piece)
    return list(zip(*parts, strict=True))


def _like_parts(call: Call, labels: Tensor) -> list[Tensor]:
    return list(call.function(labels, *call.args[1:], **call.kwargs))


def _joined_up(call: Call) -> Answer:
    """Tensors one behind the other (``cat``) or on top of each other (``stack``)."""
    tensors: list[Tensor] = call.args[0]
    given = [_alone(call, tensor) for tensor in tensors]
    filled = [
        torch.tensor(FREE).expand(tensor.shape) if labels is None else labels
        for tensor, labels in zip(tensors, given, strict=True)
    ]
    joined: Tensor = call.function(filled, *call.args[1:], **call.kwargs)
    dim = call.argument(1, "dim", 0) % joined.ndim
    if call.name == "cat":
        for labels in filled:
            _line_up(call.labels, joined, labels, dim)
    return [(joined,)]


def _line_up(all_labels: Labels, joined: Tensor, labels: Tensor, dim: int) -> None:
    """Beside the dimension of the concatenation, what is in one place has to be one channel."""
    if any(all_labels.vary(joined, other) for other in range(joined.ndim) if other != dim):
        _meet(all_labels, joined.narrow(dim, 0, 1), labels.narrow(dim, 0, 1))


def _padded(call: Call) -> Answer:
    """Zeros around; where they lie between channels, their number is fixed in the code."""
    labels = _alone(call, call.args[0])
    if labels is None:
        return [()]
    widths: Sequence[int] = call.args[1]
    for place in range(len(widths) // 2):
        if any(widths[2 * place : 2 * place + 2]) and call.labels.vary(
            labels, labels.ndim - 1 - place
        ):
            call.labels.freeze(labels)
    padded = torch.nn.functional.pad(labels, list(widths), value=FREE)
    # Borders take the labels beside them, so that positions stay alike.
    for place in range(len(widths) // 2):
        dim = labels.ndim - 1 - place
        if any(widths[2 * place : 2 * place + 2]) and not call.labels.vary(labels, dim):
            before = widths[2 * place]
            one = padded.narrow(dim, max(before, 0), 1)
            padded = one.expand(padded.shape)
    return [(padded,)]


def _indexed(call: Call) -> Answer:
    """Elements picked by tables of indices, which are fixed along the dimensions that they pick."""
    indices = call.args[1] if call.name == "index" else [call.args[2]]
    picked = (
        [dim for dim, index in enumerate(indices) if index is not None]
        if call.name == "index"
        else [call.args[1] % call.args[0].ndim]
    )
    for labels in call.facets(call.args[0]):
        for dim in picked:
            if call.labels.vary(labels, dim):
                # Rows of a table of positions are apart, yet their channels are the same ones.
                _same_channels(call.labels, labels, dim)
    return _moved(call)


def _same_channels(all_labels: Labels, labels: Tensor, dim: int) -> None:
    if any(all_labels.vary(labels, other) for other in range(labels.ndim) if other != dim):
        all_labels.join_along(labels, dim)
    else:
        all_labels.freeze(labels)


# Operators that compute element by element.


def _elementwise(call: Call) -> Answer:
    """What meets in one place of the output is one channel."""
    operands = [tensor for tensor in call.tensors if tensor.ndim or call.facets(tensor)]
    facets = [call.facets(tensor) for tensor in operands]
    most = max(len(each) for each in facets)
    if most > 1:
        return _elementwise_of_weights(call, operands, facets)
    shape = call.output.shape
    result: Tensor | None = None
    for tensor, each in zip(operands, facets, strict=True):
        labels = each[0] if each else torch.tensor(FREE).expand(tensor.shape)
        result = labels if result is None else _meet(call.labels, result, labels)
    assert result is not None
    return [(result.expand(shape),)]


def _elementwise_of_weights(call: Call, operands: list[Tensor], facets: list[Facets]) -> Answer:
    """A weight that is computed (normalised, scaled by a number): its rows and columns live on."""
    if any(len(each) == 1 for each in facets) or any(
        not each and tensor.numel() > 1 for tensor, each in zip(operands, facets, strict=True)
    ):
        return _unknown(call)
    kept = []
    for which in (ROWS, COLUMNS):
        result: Tensor | None = None
        for each in facets:
            if each:
                labels = each[which]
                result = labels if result is None else _meet(call.labels, result, labels)
        assert result is not None
        kept.append(result.expand(call.output.shape))
    return [tuple(kept)]


def _meet(all_labels: Labels, left: Tensor, right: Tensor) -> Tensor:
    """Joins what meets when two are broadcast, and gives the labels of the result."""
    ndim = max(left.ndim, right.ndim)
    left = left.reshape((1,) * (ndim - left.ndim) + tuple(left.shape))
    right = right.reshape((1,) * (ndim - right.ndim) + tuple(right.shape))
    all_labels.join(left, right)
    for one, other in ((left, right), (right, left)):
        # A table of constants with a value a channel can't be narrowed.
        if any(
            other.shape[dim] > 1 and not bool(other.count_nonzero())
            for dim in range(ndim)
            if other.shape[dim] == one.shape[dim] > 1 and all_labels.vary(one, dim)
        ):
            all_labels.freeze(one)
    shape = torch.broadcast_shapes(left.shape, right.shape)
    wide, other = (left, right) if _tells_more(all_labels, left, right) else (right, left)
    if bool((wide == FREE).any()):
        return torch.where(wide.expand(shape) == FREE, other.expand(shape), wide.expand(shape))
    return wide.expand(shape)


def _tells_more(all_labels: Labels, left: Tensor, right: Tensor) -> bool:
    """Whether the left one's labels should be the result's: those that vary in more dimensions."""
    if not bool(right.count_nonzero()):
        return True
    if not bool(left.count_nonzero()):
        return False
    return len(all_labels.varying(left)) >= len(all_labels.varying(right))


# Operators that look at several elements at once.


def _reduced(call: Call) -> Answer:
    """A sum or mean; over channels it says nothing of them any more."""
    dims = call.argument(1, "dim")
    if call.name == "linalg_vector_norm":
        dims = call.argument(2, "dim")
    ndim = call.args[0].ndim
    if dims is None or (isinstance(dims, Sequence) and not dims):
        dims = range(ndim)
    chosen = {dim % ndim for dim in ([dims] if isinstance(dims, int) else dims)}
    keep = call.output.ndim == ndim
    results = []
    for labels in call.facets(call.args[0]):
        reduced = labels
        for dim in sorted(chosen, reverse=True):
            if call.labels.vary(labels, dim):
                reduced = torch.zeros_like(reduced)
            reduced = reduced.narrow(dim, 0, 1)
            if not keep:
                reduced = reduced.squeeze(dim)
        results.append(reduced.reshape(call.output.shape))
    return [tuple(results)]


def _pooled(call: Call) -> Answer:
    """Over positions of (N, C, ...): channels stay what they are."""
    labels = _alone(call, call.args[0])
    outputs = _tensors_of(call.output)
    if labels is None:
        return [() for _ in outputs]
    output = outputs[0]
    for dim in range(2 if output.ndim > 2 else 1, output.ndim):
        if labels.shape[dim] > 1:
            labels = call.labels.join_along(labels, dim)
    return [(labels.expand(output.shape),), *[() for _ in outputs[1:]]]


def _normalised_by_channel(call: Call) -> Answer:
    """Batch and instance norms: what there is one of per channel goes with it."""
    labels = _alone(call, call.args[0])
    if labels is None:
        return [() for _ in _tensors_of(call.output)]
    channel = labels
    for dim in range(labels.ndim):
        if dim != 1:
            channel = call.labels.join_along(channel, dim)
    for tensor in call.args[1:5]:
        own = call.facets(tensor)
        if own:
            call.labels.join(channel, _along(own[0], 1, labels.ndim))
        elif isinstance(tensor, Tensor):
            call.labels.freeze(channel)
    return _first(call, channel.expand(labels.shape))


def _along(vector: Tensor, dim: int, ndim: int) -> Tensor:
    """A vector laid along one dimension of ``ndim``."""
    return vector.reshape([-1 if each == dim else 1 for each in range(ndim)])


def _layer_norm(call: Call) -> Answer:
    labels = _alone(call, call.args[0])
    if labels is None:
        return [() for _ in _tensors_of(call.output)]
    shape: Sequence[int] = call.args[1]
    outer = labels.ndim - len(shape)
    inner = labels
    for dim in range(outer):
        inner = call.labels.join_along(inner, dim)
    own = [call.facets(tensor) for tensor in call.args[2:4] if isinstance(tensor, Tensor)]
    if not own or not all(own):
        # Its width is written down beside it and could not be told from a file.
        call.labels.freeze(inner)
    for facets in own:
        for weight in facets:
            call.labels.join(inner, weight)
    return _first(call, inner.expand(labels.shape))


def _group_norm(call: Call) -> Answer:
    """The same channels have to go from each group of them."""
    labels = _alone(call, call.args[0])
    if labels is None:
        return [() for _ in _tensors_of(call.output)]
    channel = labels
    for dim in range(labels.ndim):
        if dim != 1:
            channel = call.labels.join_along(channel, dim)
    flat, groups = channel.reshape(-1), call.args[6]
    call.labels.join_along(flat.reshape(groups, -1), 0)
    for tensor in call.args[1:3]:
        for own in call.facets(tensor):
            call.labels.join(flat, own)
    if not any(call.facets(tensor) for tensor in call.args[1:3]):
        call.labels.freeze(flat)
    return _first(call, channel.expand(labels.shape))


def _first(call: Call, labels: Tensor) -> Answer:
    return [(labels,), *[() for _ in _tensors_of(call.output)[1:]]]


def _convolved(call: Call) -> Answer:
    """Outputs are the weight's rows; of a grouped convolution, a group goes as a whole."""
    image, weight, bias = call.args[:3]
    transposed, groups = call.args[6], call.args[8]
    entering, facets = _alone(call, image), call.facets(weight)
    if len(facets) != 2:
        return _unknown(call)
    rows_dim, columns_dim = (1, 0) if transposed else (0, 1)
    rows = _vector(facets[ROWS], rows_dim)
    columns = _vector(facets[COLUMNS], columns_dim)
    if transposed and groups > 1:
        call.labels.freeze(rows)
        call.labels.freeze(columns)
    channels = torch.tensor(FREE).expand(image.shape[1])
    if entering is not None:
        for dim in range(entering.ndim):
            if dim != 1:
                entering = call.labels.join_along(entering, dim)
        channels = entering.reshape(-1)
    if groups == 1:
        _enter(call.labels, channels, columns)
    else:
        # The weight has as many columns as a group has inputs, so none of them can go.
        call.labels.freeze(columns)
        inside = channels.reshape(groups, -1)
        call.labels.join_along(inside, 1)
        call.labels.join_along(rows.reshape(groups, -1), 1)
        call.labels.join(inside[:, :1], rows.reshape(groups, -1)[:, :1])
        if not bool(channels.count_nonzero()):
            call.labels.freeze(rows)
    for own in call.facets(bias):
        call.labels.join(rows, own)
    output = call.output
    return [(_along(rows, 1, output.ndim).expand(output.shape),)]


def _vector(labels: Tensor, dim: int) -> Tensor:
    for other in range(labels.ndim):
        if other != dim:
            labels = labels.narrow(other, 0, 1)
    return labels.reshape(-1)


def _enter(all_labels: Labels, entering: Tensor, columns: Tensor) -> None:
    """Joins channels with the columns that read them; columns that read none stay."""
    all_labels.join(entering, columns)
    unread = columns.broadcast_to(torch.broadcast_shapes(entering.shape, columns.shape))[
        (entering == FREE).broadcast_to(torch.broadcast_shapes(entering.shape, columns.shape))
    ]
    if unread.numel():
        all_labels.freeze(unread)


def _multiplied(call: Call) -> Answer:
    """``mm`` and ``addmm``: one of the operands is usually a weight."""
    bias = call.args[0] if call.name == "addmm" else None
    left, right = call.args[-2:] if call.name == "mm" else call.args[1:3]
    facets = call.facets(left), call.facets(right)
    if len(facets[1]) == 2 and len(facets[0]) < 2:
        labels = facets[0][0] if facets[0] else torch.tensor(FREE).expand(left.shape)
        # (m, k) times (k, n)
        rows, columns = facets[1][ROWS][0], facets[1][COLUMNS][:, 0]
        result = _through_weight(call, labels, rows, columns)
    elif len(facets[0]) == 2 and len(facets[1]) < 2:
        labels = facets[1][0] if facets[1] else torch.tensor(FREE).expand(right.shape)
        rows, columns = facets[0][ROWS][:, 0], facets[0][COLUMNS][0]
        result = _through_weight(call, labels.t(), rows, columns).t()
    else:
        return _unknown(call)
    for own in call.facets(bias):
        _meet(call.labels, result, own)
    return [(result,)]


def _through_weight(call: Call, labels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Labels (m, k) of what a weight of n rows and k columns reads → (m, n)."""
    shape = (labels.shape[0], len(rows))
    if call.labels.vary(labels, 0) and not call.labels.vary(labels, 1):
        # It mixes positions, and the channels lie beside them.
        call.labels.freeze(rows)
        call.labels.freeze(columns)
        return labels.narrow(1, 0, 1).expand(shape)
    _enter(call.labels, call.labels.join_along(labels, 0).reshape(-1), columns)
    return rows.reshape(1, -1).expand(shape)


def _multiplied_in_batches(call: Call) -> Answer:
    """``bmm`` of (b, m, k) and (b, k, n): what is summed over is joined.

    So is all that an entry of the batch, a head, holds, where heads have channels of their own.
    """
    left, right = (_alone(call, tensor) for tensor in call.args[-2:])
    if left is None and right is None:
        return [()]
    batch, m, n = call.output.shape
    k = call.args[-2].shape[2]
    left = torch.tensor(FREE).expand(batch, m, k) if left is None else left
    right = torch.tensor(FREE).expand(batch, k, n) if right is None else right
    labels = call.labels
    if labels.vary(left, 2):
        left = labels.join_along(left, 1)
    if labels.vary(right, 1):
        right = labels.join_along(right, 2)
    _meet(labels, left.transpose(1, 2)[:, :, :1], right[:, :, :1])
    if labels.vary(left, 0) or labels.vary(right, 0):
        for each in (left, right):
            labels.join_along(labels.join_along(each, 1), 2)
        head = left[:, :1, :1]
        labels.join(head, right[:, :1, :1])
        own = head if bool(head.count_nonzero()) else right[:, :1, :1]
        return [(own.expand(batch, m, n),)]
    by_row, by_column = labels.vary(left, 1), labels.vary(right, 2)
    if by_row and by_column:
        labels.freeze(left)
        by_row = False
    if by_column:
        return [(right[:, :1].expand(batch, m, n),)]
    if by_row:
        return [(left[:, :, :1].expand(batch, m, n),)]
    return [(torch.tensor(FREE).expand(batch, m, n),)]


_MOVES = (
    "permute transpose t expand unsqueeze squeeze clone alias detach contiguous flip roll "
    "_to_copy lift_fresh movedim diagonal repeat"
)
_SAME = (
    "relu gelu silu sigmoid hardsigmoid hardswish hardtanh tanh elu leaky_relu softplus mish "
    "selu celu log_sigmoid exp log sqrt rsqrt abs neg pow clamp clamp_min clamp_max dropout "
    "_softmax _log_softmax relu6 erf sin cos reciprocal masked_fill sign square "
    "softsign fill zero"
)
_MEETS = "add sub mul div maximum minimum where prelu _prelu_kernel addcmul addcdiv lerp rsub copy"
_POOLS = (
    "max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d avg_pool1d "
    "max_pool1d _adaptive_avg_pool1d upsample_nearest2d upsample_bilinear2d "
    "max_pool3d_with_indices reflection_pad2d replication_pad2d avg_pool3d "
    "_adaptive_avg_pool3d upsample_bicubic2d"
)

_RULES: dict[str, Callable[[Call], Answer]] = {
    **dict.fromkeys(_MOVES.split(), _moved),
    **dict.fromkeys(_SAME.split(), _kept),
    **dict.fromkeys(_MEETS.split(), _elementwise),
    **dict.fromkeys(_POOLS.split(), _pooled),
    **dict.fromkeys(["view", "_unsafe_view", "reshape", "_reshape_alias"], _viewed),
    **dict.fromkeys(["mean", "sum", "amax", "amin", "var", "std", "linalg_vector_norm"], _reduced),
    **dict.fromkeys(["split", "split_with_sizes", "unbind", "unsafe_split"], _split),
    **dict.fromkeys(["cat", "stack"], _joined_up),
    **dict.fromkeys(["index", "index_select"], _indexed),
    **dict.fromkeys(
        ["native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"],
        _normalised_by_channel,
    ),
    **dict.fromkeys(["mm", "addmm"], _multiplied),
    "as_strided": _laid_out,
    "bmm": _multiplied_in_batches,
    "slice": _sliced,
    "select": _selected,
    "constant_pad_nd": _padded,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "convolution": _convolved,
}
