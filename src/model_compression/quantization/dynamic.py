"""Rounds activations by the range of the very batch that they are computed for.

Knows tensors and prepared graphs; which tensors of a network are rounded is the quantizer's choice.
"""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from model_compression.own_range import ROUND_BY_OWN_RANGE, round_by_own_range
from model_compression.quantization.switches import SwitchedFakeQuantize


class OwnRangeFakeQuantize(SwitchedFakeQuantize):
    """Rounds a tensor by its own minimum and maximum, 0 among them, in training and evaluation.

    It has no range of its own, and no gradient is meant to pass: it is for after training.

    Args:
        quant_min: 0.
        quant_max: 255.
        dtype: ``torch.uint8``.
        qscheme: ``torch.per_tensor_affine``.
        is_dynamic: Always False: True would have torchao expect its own operators in the converted
            graph, where ``inline_own_ranges`` has put the file's.
    """

    def __init__(
        self,
        *,
        quant_min: int,
        quant_max: int,
        dtype: torch.dtype,
        qscheme: torch.qscheme,
        is_dynamic: bool = False,
    ) -> None:
        super().__init__()
        self.quant_min = quant_min
        self.quant_max = quant_max
        self.dtype = dtype
        self.qscheme = qscheme
        self.is_dynamic = is_dynamic

    def forward(self, x: Tensor) -> Tensor:
        """``x`` on its grid, or as it is where rounding is switched off."""
        return round_by_own_range(x) if self.rounds else x

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Nothing: there is neither a scale nor a zero point before there is a batch.

        Raises:
            TypeError: Always.
        """
        raise TypeError("A range that each batch has of its own has no scale beforehand.")


def inline_own_ranges(graph_module: GraphModule) -> None:
    """Puts the operator of the file in the place of each ``OwnRangeFakeQuantize``, in place."""
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op != "call_module" or not isinstance(
            graph_module.get_submodule(str(node.target)), OwnRangeFakeQuantize
        ):
            continue
        with graph.inserting_before(node):
            rounded = graph.call_function(ROUND_BY_OWN_RANGE, (node.args[0],))
        rounded.meta = dict(node.meta)
        node.replace_all_uses_with(rounded)
        graph.erase_node(node)
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
