"""Imports torchvision, also where its compiled operators don't fit the installed torch.

Knows this one import and nothing of what torchvision is used for.
"""

import importlib
from types import ModuleType

from torch.library import Library

# torchvision's Python code refers to these while it is being imported, even if nobody calls them.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# torch forgets a definition when its library object is collected, so this keeps them alive.
_defined: list[Library] = []


def import_torchvision() -> ModuleType:
    """Imports torchvision with its ``datasets``, ``models`` and ``transforms``.

    The torchvision on PyPI is built for CUDA. Beside a CPU-only torch its compiled operators don't
    load, and the import dies of ``operator torchvision::nms does not exist``, although networks and
    datasets need none of them. Only then the two missing operators are declared, without an
    implementation, and the import is tried again; a torchvision that loads is left as it is.

    Raises:
        ImportError: If torchvision is not installed.
        RuntimeError: If the import fails for another reason; torchvision's own error.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _defined or "torchvision::nms" not in str(error):
            raise
    library = Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _defined.append(library)
    return importlib.import_module("torchvision")
