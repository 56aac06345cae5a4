"""Makes a network the file that is deployed: bytes in, logits out.

Knows PyTorch's exporter and the order of the passes over its graph; trains and measures nothing.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx_ir as ir
import torch
from torch import nn

from model_compression import __version__
from model_compression.deployment.byte_input import take_bytes
from model_compression.deployment.float_weights import write_foldable_weights
from model_compression.deployment.integer_bias import write_integer_biases
from model_compression.deployment.integer_matmul import TRANSLATIONS, write_integer_matmuls
from model_compression.deployment.narrow_weights import narrow_weights
from model_compression.deployment.onnx_model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from model_compression.deployment.pooling import write_global_pooling
from model_compression.deployment.redundancy import drop_redundant
from model_compression.deployment.slimming import slim
from model_compression.deployment.weight_layout import transpose_stored_weights
from model_compression.evaluation import device_of, evaluating
from model_compression.images import Normalization

_OPSET = 20


def export_onnx(
    module: nn.Module,
    *,
    input_shape: tuple[int, int, int],
    normalization: Normalization,
    classes: Sequence[str],
    stage: str,
    fingerprint: str,
    architecture: str,
) -> OnnxModel:
    """Exports a float network or a converted, quantized graph module.

    The same weights give the same bytes.

    Args:
        module: Takes normalised float32 images (N, C, H, W) and gives logits (N, classes). It is
            exported in evaluation mode and left in its own; an exported graph module, whose mode
            is part of its graph, is taken as it is.
        input_shape: (C, H, W) of the images.
        normalization: Put into the graph, so that the file takes bytes.
        classes: Names of the classes, in the order of the logits.
        stage: Written into the file's metadata, as are the next two.
        fingerprint: Of the checkpoint.
        architecture: Name of the network.

    Raises:
        ValueError: If the normalisation has another number of channels than the images.
        OnnxModelError: If the network does not give one row of logits per image.
    """
    channels = len(normalization.mean)
    if channels != input_shape[0]:
        raise ValueError(
            f"The images have {input_shape[0]} channels, the normalisation has {channels}; "
            "compute it on the images that the network was trained on."
        )
    with _quiet():
        model = _trace(module, input_shape)
        take_bytes(model.graph, normalization)
        write_global_pooling(model.graph)
        transpose_stored_weights(model.graph)
        write_integer_biases(model.graph)
        write_integer_matmuls(model.graph)
        write_foldable_weights(model.graph)
        drop_redundant(model.graph)
        narrow_weights(model)
        slim(model)
    model.producer_name, model.producer_version = "model-compression", __version__
    model.metadata_props.clear()
    model.metadata_props.update(
        classes=json.dumps(list(classes), ensure_ascii=False, separators=(",", ":")),
        stage=stage,
        fingerprint=fingerprint,
        architecture=architecture,
    )
    return OnnxModel(ir.to_proto(model).SerializeToString(deterministic=True))


def _trace(module: nn.Module, input_shape: tuple[int, int, int]) -> ir.Model:
    example = torch.zeros(2, *input_shape, device=device_of(module))
    with evaluating(module), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            opset_version=_OPSET,
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    assert program is not None
    return program.model


@contextmanager
def _quiet() -> Iterator[None]:
    """Hushes what the exporter says of its own inside and of the training flag of graph modules."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
