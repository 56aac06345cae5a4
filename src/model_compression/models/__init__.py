"""The networks: which there are, how they are built, and how they are kept in a file.

Knows nothing of training and compression.
"""

from model_compression.models.architecture import ModelError
from model_compression.models.attention import free_heads
from model_compression.models.checkpoint import (
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)
from model_compression.models.heads import WholeHeads
from model_compression.models.net import Net
from model_compression.models.reshape import WeightsError, build_with_weights, fit_to
from model_compression.models.resnet import ResNet
from model_compression.models.spec import ModelSettings, ModelSpec, build_model
from model_compression.models.tensor_file import (
    TensorFileError,
    read_tensor_file,
    write_tensor_file,
)
from model_compression.models.wide_resnet import WideResNet
from model_compression.models.zoo import available_models
from model_compression.safe_convolutions import guard_convolutions

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ModelError",
    "ModelSettings",
    "ModelSpec",
    "Net",
    "ResNet",
    "TensorFileError",
    "WeightsError",
    "WholeHeads",
    "WideResNet",
    "available_models",
    "build_model",
    "build_with_weights",
    "fit_to",
    "free_heads",
    "read_checkpoint",
    "read_tensor_file",
    "write_checkpoint",
    "write_tensor_file",
]

guard_convolutions()
