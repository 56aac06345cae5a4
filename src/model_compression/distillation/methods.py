"""The choice of method: every one that there is, told apart by ``method:``.

Knows names; what a method does is in its own file.
"""

from typing import Annotated

from pydantic import Field

from model_compression.distillation.at import AtSettings
from model_compression.distillation.byot import ByotSettings
from model_compression.distillation.cc import CcSettings
from model_compression.distillation.crd import CrdSettings
from model_compression.distillation.data_free import DataFreeSettings
from model_compression.distillation.dist import DistSettings
from model_compression.distillation.dkd import DkdSettings
from model_compression.distillation.fitnets import FitNetsSettings
from model_compression.distillation.kd import KdSettings
from model_compression.distillation.labels_only import LabelsOnly
from model_compression.distillation.lwf import LwfSettings
from model_compression.distillation.mlkd import MlkdSettings
from model_compression.distillation.mutual import MutualSettings
from model_compression.distillation.nst import NstSettings
from model_compression.distillation.ofd import OfdSettings
from model_compression.distillation.pkt import PktSettings
from model_compression.distillation.reviewkd import ReviewKdSettings
from model_compression.distillation.rkd import RkdSettings
from model_compression.distillation.sp import SpSettings
from model_compression.distillation.teacher_free import TeacherFreeSettings
from model_compression.distillation.vid import VidSettings

DistillationMethod = Annotated[
    LabelsOnly
    | TeacherFreeSettings
    | KdSettings
    | DkdSettings
    | DistSettings
    | MlkdSettings
    | FitNetsSettings
    | AtSettings
    | SpSettings
    | NstSettings
    | VidSettings
    | OfdSettings
    | ReviewKdSettings
    | RkdSettings
    | PktSettings
    | CcSettings
    | CrdSettings
    | ByotSettings
    | MutualSettings
    | DataFreeSettings
    | LwfSettings,
    Field(discriminator="method"),
]
"""A choice of method by its ``method:``."""
