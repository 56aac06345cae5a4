"""Residual networks for small images (He et al., CVPR 2016, section 4.2): 6n+2 layers.

Knows layers only; how they are trained and compressed is others' business.
"""

from torch import Tensor, nn

from model_compression.models.initialisation import initialise_convolutions

DEPTHS = (8, 14, 20, 32, 56)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the ReLU comes after the sum.

    Where the shape changes the shortcut is a 1x1 convolution with batch norm (option B of the
    paper), because channels can be pruned from that and not from zero padding.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Builds the block.

        Args:
            inputs: Channels of its input.
            outputs: Channels of its output.
            stride: By how much height and width shrink.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = self.norm1(self.conv1(x))
        y = self.norm2(self.conv2(self.relu1(y)))
        out: Tensor = self.relu2(self.shortcut(x) + y)
        return out


class ResNet(nn.Module):
    """Three stages of ``(depth - 2) / 6`` blocks; each stage halves the side, doubles the width."""

    def __init__(
        self,
        channels: int,
        image_size: int,
        classes: int,
        *,
        depth: int = 20,
        width: int = 16,
        stem_stride: int = 1,
    ) -> None:
        """Builds the network with Kaiming initialisation.

        Args:
            channels: Channels of the images.
            image_size: Their side in pixels. Any will do, as the features are pooled at the end.
            classes: Number of logits.
            depth: Layers with weights, 6n+2.
            width: Channels of the first stage.
            stem_stride: Stride of the first convolution; 2 quarters the work.

        Raises:
            ValueError: If depth isn't 6n+2, or width or stem_stride isn't positive.
        """
        super().__init__()
        if depth < DEPTHS[0] or depth % 6 != 2:
            raise ValueError(f"a resnet's depth is 6n+2 (such as {DEPTHS}), not {depth}")
        if width < 1 or stem_stride < 1:
            raise ValueError(
                f"width and stem_stride must be at least 1, not {width} and {stem_stride}"
            )
        self.stem = nn.Conv2d(channels, width, 3, stem_stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        blocks = (depth - 2) // 6
        self.stages = nn.Sequential(
            _stage(width, width, blocks, stride=1),
            _stage(width, 2 * width, blocks, stride=2),
            _stage(2 * width, 4 * width, blocks, stride=2),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(4 * width, classes)
        initialise_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, classes), of normalised images, shape (N, C, H, W)."""
        x = self.relu(self.norm(self.stem(x)))
        logits: Tensor = self.classifier(self.pool(self.stages(x)).flatten(1))
        return logits


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
