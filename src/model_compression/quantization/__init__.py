"""Numbers of fewer bits: the formula, the quantizer of the graph, and training with both."""

from model_compression.quantization.formula import (
    Grid,
    affine_grid,
    dequantize,
    fake_quantize,
    quantize,
    symmetric_grid,
)
from model_compression.quantization.qat import (
    QatModel,
    QuantizationSettings,
    calibrate,
    convert,
    freeze,
    prepare_qat,
    restore,
)
from model_compression.quantization.stored import load_quantized
from model_compression.quantization.u8s8 import U8S8Quantizer

__all__ = [
    "Grid",
    "QatModel",
    "QuantizationSettings",
    "U8S8Quantizer",
    "affine_grid",
    "calibrate",
    "convert",
    "dequantize",
    "fake_quantize",
    "freeze",
    "load_quantized",
    "prepare_qat",
    "quantize",
    "restore",
    "symmetric_grid",
]
