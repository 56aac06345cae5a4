"""From a name to an architecture: the project's own networks, torchvision's, and anyone's class.

Knows names; how each kind of network is built is its own module's business.
"""

import difflib
import re

from torch import nn

from model_compression.models.architecture import Architecture, ModelError, from_constructor
from model_compression.models.custom import custom_architecture, is_custom
from model_compression.models.lenet import LeNet5, LeNet300
from model_compression.models.net import Net
from model_compression.models.resnet import DEPTHS, ResNet
from model_compression.models.torchvision_zoo import torchvision_architecture, torchvision_names
from model_compression.models.wide_resnet import WideResNet, is_depth

_TRIAL_SHAPE = (3, 32, 32)
_PLAIN: dict[str, type[nn.Module]] = {"net": Net, "lenet300": LeNet300, "lenet5": LeNet5}


def available_models() -> list[str]:
    """The names that ``ModelSettings`` takes, besides the path of any ``nn.Module`` class.

    The project's own come first. Of the wide ResNets ``wrn_16_1``, ``wrn_16_2`` and ``wrn_16_4``
    are listed, but any ``wrn_<depth>_<k>`` of depth 6n+4 can be built.
    """
    return [*_own_names(), *torchvision_names()]


def find_architecture(name: str) -> Architecture:
    """The architecture called ``name``.

    Raises:
        ModelError: If there is none, saying which names are close.
    """
    own = _own_architecture(name)
    if own is not None:
        return own
    if is_custom(name):
        return custom_architecture(name)
    if name in torchvision_names():
        return torchvision_architecture(name)
    known = available_models()
    near = difflib.get_close_matches(name, known, n=5) or known
    raise ModelError(
        f"there is no model {name!r}; there are, for example, {', '.join(near)}. "
        "available_models() lists all, and package.module.Class names a network of your own"
    )


def _own_names() -> list[str]:
    wide = [f"wrn_16_{factor}" for factor in (1, 2, 4)]
    return ["net", *(f"resnet{depth}" for depth in DEPTHS), *wide, "lenet300", "lenet5"]


def _own_architecture(name: str) -> Architecture | None:
    if name in _PLAIN:
        return from_constructor(_PLAIN[name], trial_shape=_TRIAL_SHAPE)
    if name in {f"resnet{depth}" for depth in DEPTHS}:
        fixed = {"depth": int(name.removeprefix("resnet"))}
        return from_constructor(ResNet, fixed, _TRIAL_SHAPE)
    match = re.fullmatch(r"wrn_([1-9]\d*)_([1-9]\d*)", name)
    if match and is_depth(int(match[1])):
        fixed = {"depth": int(match[1]), "widen_factor": int(match[2])}
        return from_constructor(WideResNet, fixed, _TRIAL_SHAPE)
    return None
