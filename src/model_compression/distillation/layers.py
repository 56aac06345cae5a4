"""Which layers of a network to look at: the ends of its stages, found by running it once.

Knows paths, sizes and shapes; how the layers are looked at is taps' business.
"""

import difflib
import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from model_compression.distillation.method import DistillationError

Size = tuple[int, int]
"""Height and width of a map."""

_SHOWN = 12


def as_map(output: object, images: Tensor) -> Tensor | None:
    """A layer's output as maps (N, C, H, W); ``None`` if it can't be read so.

    Maps are passed on, of channels-last layers (Swin's) permuted; tokens (N, L, C) are put in
    their places (a ViT's class token, the first, is left out); vectors (N, D) are 1x1 maps.

    Args:
        output: What the layer gave.
        images: What the network was given, (N, C, H, W); its aspect ratio tells which axes are
            height and width.
    """
    if not isinstance(output, Tensor) or len(output) != len(images):
        return None
    height, width = images.shape[2:]
    if output.ndim == 4:
        is_last = _alike(output.shape[1:3], height, width)
        is_first = _alike(output.shape[2:4], height, width)
        return output.permute(0, 3, 1, 2) if is_last and not is_first else output
    if output.ndim == 3:
        for skipped in (0, 1):
            rows = round(((output.shape[1] - skipped) * height / width) ** 0.5)
            if rows and rows * round(rows * width / height) == output.shape[1] - skipped:
                tokens = output[:, skipped:].transpose(1, 2)
                return tokens.reshape(*tokens.shape[:2], rows, -1)
        return None
    return output[:, :, None, None] if output.ndim == 2 else None


def _alike(shape: Iterable[int], height: int, width: int) -> bool:
    rows, columns = shape
    return abs(rows * width - columns * height) < max(height, width)


def stage_ends(sizes: Mapping[str, Size | None]) -> list[str]:
    """The last layer at each size of map, from the input towards the output.

    Only layers of the trunk are looked at: the network's parts, and the parts of those in which the
    size changes more than once. So it is ``layer1``, not the batch norm inside of it, whatever an
    architecture calls its stages. 1x1 maps count only where there are no others.

    Args:
        sizes: Size of the map that each called module gave, ``None`` if it was none; in the order
            in which they returned, the network itself (``""``) last.
    """
    order = {path: index for index, path in enumerate(sizes)}
    children = _children(sizes)
    trunk, inside = _trunk(_innermost_network(children), children, sizes)
    # The last of the trunk gives the logits.
    hidden = sorted(trunk, key=order.__getitem__)[:-1]
    ends: dict[Size, str] = {}
    for path in [*sorted(inside, key=order.__getitem__), *hidden]:
        size = sizes[path]
        if size is not None and (path in hidden or ends.get(size) not in hidden):
            ends[size] = path
    if len(ends) > 1:
        ends.pop((1, 1), None)
    found: list[str] = []
    smallest: float = math.inf
    for path in sorted(ends.values(), key=order.__getitem__):
        rows, columns = sizes[path] or (0, 0)
        # A pool to a fixed size makes small maps larger again (VGG's); that is no stage.
        if rows * columns <= smallest:
            found.append(path)
            smallest = rows * columns
    return found


def check_layers(asked: Iterable[str], sizes: Mapping[str, Size | None], network: str) -> None:
    """Refuses paths of layers that are not there or give no map.

    Raises:
        DistillationError: Naming the ones that could be meant.
    """
    right = [path for path, size in sizes.items() if size is not None and path]
    for path in asked:
        if path in right:
            continue
        near = difflib.get_close_matches(path, right, n=3)
        meant = f" (did you mean {', '.join(near)}?)" if near else ""
        children = _children(sizes)
        parts, _ = _trunk(_innermost_network(children), children, sizes)
        trunk = [path for path in parts if path in right]
        shown = trunk[:_SHOWN] + (["…"] if len(trunk) > _SHOWN else [])
        raise DistillationError(
            f"{network} has no layer {path!r} that gives a map{meant}. Name a module by its path: "
            f"its stages end with {', '.join(stage_ends(sizes))}; its parts are "
            f"{', '.join(shown)}; a path inside of these, such as {right[0]}, is right too"
        )


def _children(sizes: Mapping[str, Size | None]) -> dict[str, list[str]]:
    """Of each called module, the called ones right inside; uncalled lists are seen through."""
    children: dict[str, list[str]] = {path: [] for path in sizes}
    for path in sizes:
        if path:
            parent = path.rpartition(".")[0]
            while parent not in sizes:
                parent = parent.rpartition(".")[0]
            children[parent].append(path)
    return children


def _innermost_network(children: Mapping[str, list[str]]) -> str:
    """Path of the network in what only wraps it, such as a view: what has a single part is none."""
    path = ""
    while len(children[path]) == 1 and children[children[path][0]]:
        (path,) = children[path]
    return path


def _trunk(
    path: str, children: Mapping[str, list[str]], sizes: Mapping[str, Size | None]
) -> tuple[list[str], list[str]]:
    """The parts of the trunk, and the parts of those in which the size changes just once."""
    trunk, inside = [], []
    for child in children[path]:
        inner = {sizes[part] for part in children[child]} - {None, (1, 1)}
        if children[child] and (sizes[child] is None or len(inner) > 2):
            deeper = _trunk(child, children, sizes)
            trunk += deeper[0]
            inside += deeper[1]
        else:
            trunk.append(child)
            inside += children[child] if len(inner) == 2 else []
    return trunk, inside
