"""Numbers of fewer bits: the formula, the quantizer of the graph, and training with both."""

from model_compression.quantization.formula import (
    Grid,
    affine_grid,
    dequantize,
    fake_quantize,
    quantize,
    symmetric_grid,
)
from model_compression.quantization.post_training import quantize_after_training
from model_compression.quantization.qat import (
    QatModel,
    calibrate,
    convert,
    freeze,
    prepare_qat,
    restore,
)
from model_compression.quantization.settings import (
    FLOAT_BITS,
    DynamicSettings,
    Guard,
    PostTrainingSettings,
    QatSettings,
    QuantizationMethod,
    StaticSettings,
    WeightOnlySettings,
    WeightSettings,
)
from model_compression.quantization.stored import (
    float_layers,
    load_quantized,
    regrid_checkpoint,
    restore_checkpoint,
)
from model_compression.quantization.u8s8 import U8S8Quantizer

__all__ = [
    "FLOAT_BITS",
    "DynamicSettings",
    "Grid",
    "Guard",
    "PostTrainingSettings",
    "QatModel",
    "QatSettings",
    "QuantizationMethod",
    "StaticSettings",
    "U8S8Quantizer",
    "WeightOnlySettings",
    "WeightSettings",
    "affine_grid",
    "calibrate",
    "convert",
    "dequantize",
    "fake_quantize",
    "float_layers",
    "freeze",
    "load_quantized",
    "prepare_qat",
    "quantize",
    "quantize_after_training",
    "regrid_checkpoint",
    "restore",
    "restore_checkpoint",
    "symmetric_grid",
]
