"""torchvision's attention with as many heads as its weights say: see ``attention``.

Knows torchvision's networks; it is imported only where one of them has been built.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.maxvit import RelativePositionalMultiHeadAttention
from torchvision.models.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2
from torchvision.models.vision_transformer import VisionTransformer

from model_compression.models.heads import WholeHeads, by_head


def change_class(module: Any) -> None:
    """Lets a module of torchvision have any number of heads, if it is one that has heads."""
    if type(module) in (ShiftedWindowAttention, ShiftedWindowAttentionV2):
        module.head_size = module.qkv.out_features // (3 * module.num_heads)
    module.__class__ = _FREED.get(type(module), type(module))


class FreeWindowAttention(WholeHeads, ShiftedWindowAttention):  # type: ignore[misc]
    """Swin's attention within windows (Liu et al., ICCV 2021)."""

    head_size: int

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Similarities of queries and keys, each (…, heads, positions, head size)."""
        scale = float(self.head_size**-0.5)
        return (q * scale).matmul(k.transpose(-2, -1))

    def projection_bias(self) -> Tensor | None:
        """Of queries, keys and values."""
        bias: Tensor | None = self.qkv.bias
        return bias

    def position_table(self) -> Tensor:
        """A bias for each relative position and head."""
        table: Tensor = self.relative_position_bias_table
        return table

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, H, W, C) to the same shape."""
        height, width = x.shape[1:3]
        sides = self.window_size
        padded = functional.pad(x, (0, 0, 0, -width % sides[1], 0, -height % sides[0]))
        rows, columns = padded.shape[1] // sides[0], padded.shape[2] // sides[1]
        # A window as large as the map has nothing to be shifted against.
        shifts = [
            0 if side >= size else shift
            for side, size, shift in zip(sides, padded.shape[1:3], self.shift_size, strict=True)
        ]
        if any(shifts):
            padded = padded.roll((-shifts[0], -shifts[1]), (1, 2))
        windows = _windows(padded, rows, columns, sides)
        projected = functional.linear(windows, self.qkv.weight, self.projection_bias())
        q, k, v = (by_head(each, self.head_size) for each in projected.chunk(3, -1))
        positions = sides[0] * sides[1]
        bias = self.position_table()[self.relative_position_index]
        scores = self.scores(q, k) + bias.unflatten(0, (positions, positions)).permute(2, 0, 1)
        if any(shifts):
            scores = scores + _strangers(padded, rows, columns, sides, shifts)[:, None]
        shares = functional.dropout(scores.softmax(-1), self.attention_dropout, self.training)
        mixed = self.proj(shares.matmul(v).transpose(-3, -2).flatten(-2))
        mixed = functional.dropout(mixed, self.dropout, self.training)
        merged = _merged(mixed, rows, columns, sides)
        if any(shifts):
            merged = merged.roll((shifts[0], shifts[1]), (1, 2))
        return merged[:, :height, :width].contiguous()


class FreeWindowAttentionV2(FreeWindowAttention, ShiftedWindowAttentionV2):  # type: ignore[misc]
    """Swin v2's: cosines as scores, positions by a small network (Liu et al., CVPR 2022)."""

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Cosines of queries and keys, scaled by head; at most 100."""
        cosines = functional.normalize(q, dim=-1).matmul(
            functional.normalize(k, dim=-1).transpose(-2, -1)
        )
        scale: Tensor = self.logit_scale.clamp(max=math.log(100.0)).exp()
        return cosines * scale

    def projection_bias(self) -> Tensor | None:
        """As Swin v2 has it, keys have none."""
        if self.qkv.bias is None:
            return None
        queries, keys, values = self.qkv.bias.chunk(3)
        return torch.cat([queries, keys * 0.0, values])

    def position_table(self) -> Tensor:
        """A bias in (0, 16) for each relative position and head."""
        table: Tensor = self.cpb_mlp(self.relative_coords_table)
        return 16.0 * table.flatten(0, 2).sigmoid()


class FreeRelativeAttention(WholeHeads, RelativePositionalMultiHeadAttention):  # type: ignore[misc]
    """MaxViT's attention within windows and over grids (Tu et al., ECCV 2022)."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, groups, positions, C) to the same shape."""
        q, k, v = (by_head(each, self.head_dim) for each in self.to_qkv(x).chunk(3, -1))
        length = self.max_seq_len
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        scores = q.matmul((k * self.scale_factor).transpose(-2, -1))
        shares = (scores + bias.unflatten(0, (length, length)).permute(2, 0, 1)).softmax(-1)
        output: Tensor = self.merge(shares.matmul(v).transpose(-3, -2).flatten(-2))
        return output


class FreeVisionTransformer(VisionTransformer):  # type: ignore[misc]
    """torchvision's ViT, whose patches are as wide as their convolution makes them."""

    def _process_input(self, x: Tensor) -> Tensor:
        size = (self.image_size, self.image_size)
        if tuple(x.shape[2:]) != size:
            raise ValueError(f"Expected images of {size} pixels, got {tuple(x.shape[2:])}.")
        patches: Tensor = self.conv_proj(x)
        return patches.flatten(2).transpose(1, 2)


def _windows(x: Tensor, rows: int, columns: int, sides: list[int]) -> Tensor:
    """(N, rows · h, columns · w, C) to (N, rows · columns, h · w, C)."""
    cells: Tensor = x.unflatten(2, (columns, sides[1])).unflatten(1, (rows, sides[0]))
    return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _merged(windows: Tensor, rows: int, columns: int, sides: list[int]) -> Tensor:
    """What ``_windows`` took apart."""
    cells: Tensor = windows.unflatten(2, (sides[0], sides[1])).unflatten(1, (rows, columns))
    return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _strangers(x: Tensor, rows: int, columns: int, sides: list[int], shifts: list[int]) -> Tensor:
    """-100 where two positions of a window come from opposite borders, (windows, h · w, h · w).

    After the shift a window at the border holds parts of the map that are no neighbours. As in
    the original, what lies there is told by bands along both sides.
    """
    bands = [
        _bands(size, side, shift).to(x.device)
        for size, side, shift in zip(x.shape[1:3], sides, shifts, strict=True)
    ]
    region = (3 * bands[0][:, None] + bands[1][None, :]).to(x.dtype)
    inside = _windows(region[None, :, :, None], rows, columns, sides)[0, :, :, 0]
    return -100.0 * (inside[:, None, :] != inside[:, :, None]).to(x.dtype)


def _bands(size: int, side: int, shift: int) -> Tensor:
    """0 in front, 1 in the last window, 2 in what the shift has brought there."""
    place = torch.arange(size)
    return (place >= size - side).long() + (place >= size - shift).long()


_FREED: dict[type, type] = {
    ShiftedWindowAttention: FreeWindowAttention,
    ShiftedWindowAttentionV2: FreeWindowAttentionV2,
    RelativePositionalMultiHeadAttention: FreeRelativeAttention,
    VisionTransformer: FreeVisionTransformer,
}
