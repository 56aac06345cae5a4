"""A trained network as one file: its weights, and all that it takes to use them.

Knows what a checkpoint holds; who trained it and what came of it is its makers' business.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from model_compression.images.normalization import Normalization
from model_compression.models.architecture import ModelError
from model_compression.models.reshape import build_with_weights
from model_compression.models.spec import ModelSpec
from model_compression.models.tensor_file import read_tensor_file, write_tensor_file
from model_compression.parameters import Parameters

FORMAT_VERSION = 1

GraphKind = Literal["float", "qat"]


class CheckpointError(ValueError):
    """A checkpoint that contradicts itself, or that this version can't use."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network's weights with their spec, their origin, and the meaning of inputs and outputs."""

    spec: ModelSpec
    """The network before channels were pruned from it; the weights tell what is left."""
    weights: dict[str, Tensor]
    """Its ``state_dict()``."""
    stage: str
    """teacher, student, pruned, quantized."""
    fingerprint: str
    """Of all that the weights depend on."""
    classes: tuple[str, ...]
    """A name for each logit."""
    normalization: Normalization
    """What images go through before they enter the network."""
    graph: GraphKind = "float"
    """``qat`` if the weights are those of the graph for quantization-aware training."""
    details: dict[str, Any] = field(default_factory=dict)
    """JSON values worth keeping, such as best_epoch."""

    def __post_init__(self) -> None:
        """Checks that the parts fit together.

        Raises:
            CheckpointError: If there isn't a name a class, or a mean and std a channel.
        """
        if len(self.classes) != self.spec.classes:
            raise CheckpointError(
                f"a network of {self.spec.classes} classes needs as many class names, not "
                f"{len(self.classes)}"
            )
        channels = self.spec.input_shape[0]
        if len(self.normalization.mean) != channels:
            raise CheckpointError(
                f"a network for images of {channels} channels needs a normalization of as many, "
                f"not {len(self.normalization.mean)}"
            )

    def build(self) -> nn.Module:
        """The network with these weights, in eval mode, on the CPU, with memory of its own.

        Raises:
            CheckpointError: If the weights are those of another graph than the spec's.
            WeightsError: If the weights don't fit the spec.
        """
        if self.graph != "float":
            raise CheckpointError(
                f"the {self.stage} checkpoint holds a graph prepared for quantization-aware "
                "training, which build() doesn't know: use quantization.load_quantized"
            )
        return build_with_weights(self.spec, self.weights).eval()

    def weights_digest(self) -> str:
        """SHA-256 of the weights' names and values: what the network answers depends on these."""
        digest = hashlib.sha256()
        for name in sorted(self.weights):
            tensor = self.weights[name].detach().cpu().contiguous()
            digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def header(self) -> dict[str, Any]:
        """All but the weights, as JSON values; ``from_header`` is its inverse."""
        return {"format": "checkpoint", "format_version": FORMAT_VERSION} | _Header(
            spec=self.spec,
            stage=self.stage,
            fingerprint=self.fingerprint,
            classes=self.classes,
            normalization=self.normalization,
            graph=self.graph,
            details=self.details,
        ).model_dump(mode="json")

    @classmethod
    def from_header(cls, header: Mapping[str, Any], weights: dict[str, Tensor]) -> Self:
        """The checkpoint of a ``header()`` and its weights, which are not held against each other.

        Raises:
            CheckpointError: If it is no checkpoint's header, or of another version.
        """
        values = dict(header)
        came = values.pop("format", None), values.pop("format_version", None)
        if came != ("checkpoint", FORMAT_VERSION):
            raise CheckpointError(
                f"expected a checkpoint of format version {FORMAT_VERSION}, but this is format "
                f"{came[0]!r}, version {came[1]!r}: use the model-compression that wrote it, or "
                "run the stage again"
            )
        try:
            read = _Header.model_validate(values)
        except ValidationError as error:
            raise CheckpointError(f"the checkpoint's header is damaged: {error}") from error
        return cls(weights=weights, **{key: getattr(read, key) for key in _Header.model_fields})


class _Header(Parameters):
    spec: ModelSpec
    stage: str
    fingerprint: str
    classes: tuple[str, ...]
    normalization: Normalization
    graph: GraphKind
    details: dict[str, Any]


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes ``checkpoint`` to one safetensors file, whole or not at all."""
    write_tensor_file(path, checkpoint.weights, checkpoint.header())


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads what ``write_checkpoint`` wrote, and builds its network once to see that it fits.

    The weights of a ``qat`` graph are held against it by ``quantization.load_quantized``.

    Raises:
        TensorFileError: If the file is missing, truncated, altered or from elsewhere.
        CheckpointError: If it holds something else, another version, or weights that aren't
            those of its spec; naming the file.
    """
    weights, header = read_tensor_file(path)
    try:
        checkpoint = Checkpoint.from_header(header, weights)
        if checkpoint.graph == "float":
            checkpoint.build()
    except (CheckpointError, ModelError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return checkpoint
