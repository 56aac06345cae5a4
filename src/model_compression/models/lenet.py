"""The two networks that Deep Compression was shown on (Han, Mao & Dally, ICLR 2016, section 5.1).

LeNet-300-100 is the fully connected one of LeCun et al. (1998); LeNet-5 is the shape that Caffe's
example gave that name, wider than the paper's of 1998, which is ``net``. Both end in ReLU where
LeCun's had a sigmoid.

Know layers only; how they are trained and compressed is others' business.
"""

from torch import Tensor, nn

SMALLEST_IMAGE = 16


class LeNet300(nn.Module):
    """Three linear layers, 300-100-classes; 266,610 parameters at 28x28x1 and 10 classes."""

    def __init__(self, channels: int, image_size: int, classes: int) -> None:
        """Builds the network with PyTorch's own (Kaiming uniform) initialisation.

        Args:
            channels: Channels of the images.
            image_size: Their side in pixels.
            classes: Number of logits.
        """
        super().__init__()
        self.linear1 = nn.Linear(channels * image_size**2, 300)
        self.relu1 = nn.ReLU()
        self.linear2 = nn.Linear(300, 100)
        self.relu2 = nn.ReLU()
        self.classifier = nn.Linear(100, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, classes), of normalised images, shape (N, C, H, W)."""
        x = self.relu1(self.linear1(x.flatten(1)))
        x = self.relu2(self.linear2(x))
        logits: Tensor = self.classifier(x)
        return logits


class LeNet5(nn.Module):
    """Two convolutions of 20 and 50 filters and two linear layers, 500-classes.

    431,080 parameters at 28x28x1 and 10 classes. The convolutions are followed by max pooling
    alone; a ReLU follows the first linear layer.
    """

    def __init__(self, channels: int, image_size: int, classes: int) -> None:
        """Builds the network with PyTorch's own (Kaiming uniform) initialisation.

        Args:
            channels: Channels of the images.
            image_size: Their side in pixels; at least 16, below which nothing is left to flatten.
            classes: Number of logits.

        Raises:
            ValueError: If the image is too small.
        """
        super().__init__()
        if image_size < SMALLEST_IMAGE:
            raise ValueError(
                f"lenet5 needs images of at least {SMALLEST_IMAGE}x{SMALLEST_IMAGE} pixels, not "
                f"{image_size}x{image_size}: set a larger image_size or take lenet300"
            )
        side = ((image_size - 4) // 2 - 4) // 2
        self.conv1 = nn.Conv2d(channels, 20, 5)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.pool2 = nn.MaxPool2d(2)
        self.linear1 = nn.Linear(50 * side * side, 500)
        self.relu1 = nn.ReLU()
        self.classifier = nn.Linear(500, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, classes), of normalised images, shape (N, C, H, W)."""
        x = self.pool1(self.conv1(x))
        x = self.pool2(self.conv2(x))
        x = self.relu1(self.linear1(x.flatten(1)))
        logits: Tensor = self.classifier(x)
        return logits
