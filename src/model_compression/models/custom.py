"""Networks from outside of the project, named by the dotted path of their class.

Knows how to import a class; what it computes is its author's business. A checkpoint of such a
network is still safe to open in that it carries no code: the class must be installed already.
"""

import importlib

from torch import nn

from model_compression.models.architecture import Architecture, ModelError, from_constructor


def is_custom(name: str) -> bool:
    """Whether ``name`` is a path, ``package.module.Class`` or ``package.module:Class``."""
    return "." in name or ":" in name


def custom_architecture(path: str) -> Architecture:
    """The architecture of the class at ``path``.

    Raises:
        ModelError: If there is no such module or class, or it is no ``nn.Module``.
    """
    return from_constructor(_import_class(path))


def _import_class(path: str) -> type[nn.Module]:
    separator = ":" if ":" in path else "."
    module_name, _, class_name = path.rpartition(separator)
    if not all(part.isidentifier() for part in [*module_name.split("."), class_name]):
        raise ModelError(
            f"{path!r} is no path of a class: write package.module.Class or package.module:Class"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ModelError(
            f"the module {module_name!r} of {path!r} can't be imported ({error}): install it, or "
            "put its folder on PYTHONPATH"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ModelError(f"the module {module_name!r} has no class {class_name!r}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ModelError(f"{path!r} is no torch.nn.Module class but {found!r}")
    return found
