"""Numbers of fewer bits: the formula, the quantizer of the graph, and training with both.

What needs torchao is imported when it is used; the formula and the settings don't.
"""

from typing import TYPE_CHECKING

from model_compression.lazy import offered_by
from model_compression.quantization.formula import (
    Grid,
    affine_grid,
    dequantize,
    quantize,
    symmetric_grid,
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

if TYPE_CHECKING:
    from model_compression.quantization.guard import (
        Correct,
        Drop,
        Returned,
        bits_of,
        holds,
        paired_drop,
        return_layers,
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
    from model_compression.quantization.sensitivity import BitBench, measure_bits
    from model_compression.quantization.stored import (
        float_layers,
        load_quantized,
        regrid_checkpoint,
        restore_checkpoint,
    )
    from model_compression.quantization.u8s8 import U8S8Quantizer
    from model_compression.quantization.zeros import carried_masks
else:
    __getattr__ = offered_by(
        __name__,
        {
            "guard": (
                *("Correct", "Drop", "Returned"),
                *("bits_of", "holds", "paired_drop", "return_layers"),
            ),
            "post_training": ("quantize_after_training",),
            "qat": ("QatModel", "calibrate", "convert", "freeze", "prepare_qat", "restore"),
            "sensitivity": ("BitBench", "measure_bits"),
            "stored": (
                *("float_layers", "load_quantized"),
                *("regrid_checkpoint", "restore_checkpoint"),
            ),
            "u8s8": ("U8S8Quantizer",),
            "zeros": ("carried_masks",),
        },
    )

__all__ = [
    "FLOAT_BITS",
    "BitBench",
    "Correct",
    "Drop",
    "DynamicSettings",
    "Grid",
    "Guard",
    "PostTrainingSettings",
    "QatModel",
    "QatSettings",
    "QuantizationMethod",
    "Returned",
    "StaticSettings",
    "U8S8Quantizer",
    "WeightOnlySettings",
    "WeightSettings",
    "affine_grid",
    "bits_of",
    "calibrate",
    "carried_masks",
    "convert",
    "dequantize",
    "float_layers",
    "freeze",
    "holds",
    "load_quantized",
    "measure_bits",
    "paired_drop",
    "prepare_qat",
    "quantize",
    "quantize_after_training",
    "regrid_checkpoint",
    "restore",
    "restore_checkpoint",
    "return_layers",
    "symmetric_grid",
]
