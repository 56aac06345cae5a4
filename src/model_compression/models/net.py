"""The smallest net of the zoo: LeNet-5 (LeCun et al., 1998) with ReLU and max pooling.

Knows layers only; how it is trained and compressed is others' business.
"""

from torch import Tensor, nn

SMALLEST_IMAGE = 12


class Net(nn.Module):
    """Two convolutions and three linear layers; 61,706 parameters at 28x28x1 and 10 classes."""

    def __init__(self, channels: int, image_size: int, classes: int) -> None:
        """Builds the net with PyTorch's own (Kaiming uniform) initialisation.

        Args:
            channels: Channels of the images.
            image_size: Their side in pixels; at least 12, below which nothing is left to flatten.
            classes: Number of logits.

        Raises:
            ValueError: If the image is too small.
        """
        super().__init__()
        if image_size < SMALLEST_IMAGE:
            raise ValueError(
                f"net needs images of at least {SMALLEST_IMAGE}x{SMALLEST_IMAGE} pixels, not "
                f"{image_size}x{image_size}: set a larger image_size or take a resnet"
            )
        side = (image_size // 2 - 4) // 2
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.linear1 = nn.Linear(16 * side * side, 120)
        self.relu3 = nn.ReLU()
        self.linear2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.classifier = nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, classes), of normalised images, shape (N, C, H, W)."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.relu3(self.linear1(x.flatten(1)))
        x = self.relu4(self.linear2(x))
        logits: Tensor = self.classifier(x)
        return logits
