"""Attention whose heads are as many as its weights say, whatever the width of what it reads.

The attention of PyTorch and of torchvision takes heads · head size for the width of its input, so
neither heads nor that width could be pruned alone. ``free_heads`` gives it classes that have the
same parameters and the same outputs, but read the number of heads off the weights, at a head size
that stays.

Knows PyTorch's attention; torchvision's is in ``torchvision_attention``.
"""

import importlib
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_compression.models.heads import WholeHeads, by_head


def free_heads(network: nn.Module) -> None:
    """Lets every attention in a network have any number of heads, and its input any width.

    Parameters, buffers and outputs stay as they are; only the classes of the modules change.
    Attention with queries, keys and values of different widths, or with learned further ones, is
    left alone.
    """
    for module in network.modules():
        if type(module) is nn.MultiheadAttention and _is_plain(module):
            module.__class__ = FreeMultiheadAttention
        elif type(module).__module__.startswith("torchvision."):
            # torchvision takes seconds to import, and a network of one's own does without it.
            freed = importlib.import_module("model_compression.models.torchvision_attention")
            freed.change_class(module)


class FreeMultiheadAttention(WholeHeads, nn.MultiheadAttention):
    """``torch.nn.MultiheadAttention``; ``head_dim`` is the size of a head, and stays."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As in PyTorch; queries, keys and values are batches, (N, L, E) or (L, N, E).

        Raises:
            ValueError: If they are not batches.
        """
        if query.ndim != 3:
            raise ValueError(
                f"Expected a batch of sequences, of 3 dimensions; got {tuple(query.shape)}. "
                "Add a dimension for the batch."
            )
        sequences = [
            each if self.batch_first else each.transpose(0, 1) for each in (query, key, value)
        ]
        weights = self.in_proj_weight.chunk(3)
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        q, k, v = (
            by_head(functional.linear(each, weight, bias), self.head_dim)
            for each, weight, bias in zip(sequences, weights, biases, strict=True)
        )
        scores = (q * self.head_dim**-0.5).matmul(k.transpose(-2, -1))
        if attn_mask is not None:
            scores = _masked(scores, _per_head(attn_mask, scores))
        if key_padding_mask is not None:
            scores = _masked(scores, key_padding_mask[:, None, None, :])
        shares = scores.softmax(-1)
        mixed = functional.dropout(shares, self.dropout, self.training).matmul(v)
        output = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if not self.batch_first:
            output = output.transpose(0, 1)
        if not need_weights:
            return output, None
        return output, shares.mean(1) if average_attn_weights else shares


def _is_plain(module: nn.MultiheadAttention) -> bool:
    extended = module.bias_k is not None or module.bias_v is not None or module.add_zero_attn
    return bool(module._qkv_same_embed_dim) and not extended


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Booleans shut out where they are true, as in PyTorch; numbers are added."""
    if mask.dtype == torch.bool:
        return scores.masked_fill(mask, -math.inf)
    return scores + mask


def _per_head(mask: Tensor, scores: Tensor) -> Tensor:
    """A mask for all heads, (L, S), or one for each, (N · heads, L, S)."""
    return mask if mask.ndim == 2 else mask.unflatten(0, (scores.shape[0], -1))
