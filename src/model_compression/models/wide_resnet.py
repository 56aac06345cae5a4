"""Wide residual networks (Zagoruyko & Komodakis, BMVC 2016): WRN-d-k, 6n+4 layers, k times wider.

Knows layers only; how they are trained and compressed is others' business.
"""

from torch import Tensor, nn

from model_compression.models.initialisation import initialise_convolutions

BASE_WIDTH = 16


def is_depth(depth: int) -> bool:
    """Whether there is a wide ResNet of that many layers: 10, 16, 22, ..."""
    return depth >= 10 and depth % 6 == 4


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions; nothing after the sum.

    Where the shape changes the shortcut is a 1x1 convolution of the activated input, as in the
    authors' code.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        """Builds the block.

        Args:
            inputs: Channels of its input.
            outputs: Channels of its output.
            stride: By how much height and width shrink.
            dropout: Probability by which a value between the convolutions is zeroed in training.
        """
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        activated = self.relu1(self.norm1(x))
        y = self.relu2(self.norm2(self.conv1(activated)))
        y = self.conv2(self.dropout(y))
        skipped = x if self.shortcut is None else self.shortcut(activated)
        out: Tensor = skipped + y
        return out


class WideResNet(nn.Module):
    """Three stages of ``(depth - 4) / 6`` blocks with 16k, 32k and 64k channels."""

    def __init__(
        self,
        channels: int,
        image_size: int,
        classes: int,
        *,
        depth: int = 16,
        widen_factor: int = 2,
        dropout: float = 0.0,
    ) -> None:
        """Builds the network with Kaiming initialisation.

        Args:
            channels: Channels of the images.
            image_size: Their side in pixels. Any will do, as the features are pooled at the end.
            classes: Number of logits.
            depth: Layers with weights, 6n+4.
            widen_factor: The paper's k.
            dropout: Probability by which a value between a block's convolutions is zeroed.

        Raises:
            ValueError: If depth isn't 6n+4, widen_factor isn't positive or dropout isn't in [0, 1).
        """
        super().__init__()
        if not is_depth(depth):
            raise ValueError(f"a wide resnet's depth is 6n+4 (10, 16, 22, 28, 40), not {depth}")
        if widen_factor < 1:
            raise ValueError(f"widen_factor must be at least 1, not {widen_factor}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {dropout}")
        blocks = (depth - 4) // 6
        widths = [BASE_WIDTH, *(BASE_WIDTH * widen_factor * factor for factor in (1, 2, 4))]
        self.stem = nn.Conv2d(channels, BASE_WIDTH, 3, padding=1, bias=False)
        self.stages = nn.Sequential(
            _stage(widths[0], widths[1], blocks, 1, dropout),
            _stage(widths[1], widths[2], blocks, 2, dropout),
            _stage(widths[2], widths[3], blocks, 2, dropout),
        )
        self.norm = nn.BatchNorm2d(widths[3])
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[3], classes)
        initialise_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, classes), of normalised images, shape (N, C, H, W)."""
        x = self.relu(self.norm(self.stages(self.stem(x))))
        logits: Tensor = self.classifier(self.pool(x).flatten(1))
        return logits


def _stage(inputs: int, outputs: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    first = PreActivationBlock(inputs, outputs, stride, dropout)
    rest = (PreActivationBlock(outputs, outputs, 1, dropout) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
