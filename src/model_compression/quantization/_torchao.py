"""The one door to torchao, which complains at import about kernels that this project never calls.

Knows what the room needs of torchao and nothing of how it is used.
"""

import logging
import warnings

# torchao 0.18 logs a warning for each of its CUDA extensions that a CPU build of PyTorch cannot
# load, and registers an enum in a way that PyTorch 2.13 deprecates. Neither concerns PT2E.
_previous_level = logging.root.manager.disable
logging.disable(max(_previous_level, logging.WARNING))
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao.quantization.pt2e import FakeQuantizeBase
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e
        from torchao.quantization.pt2e.quantizer import (
            QuantizationAnnotation,
            QuantizationSpec,
            Quantizer,
            SharedQuantizationSpec,
        )
finally:
    logging.disable(_previous_level)

__all__ = [
    "FakeQuantizeBase",
    "QuantizationAnnotation",
    "QuantizationSpec",
    "Quantizer",
    "SharedQuantizationSpec",
    "convert_pt2e",
    "prepare_qat_pt2e",
]
