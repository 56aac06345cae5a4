"""How the catalog reads and writes what the pipelines pass on."""

from model_compression.datasets.answer_shelf import AnswerShelfDataset
from model_compression.datasets.checkpoint import CheckpointDataset
from model_compression.datasets.checkpoint_folder import CheckpointFolderDataset
from model_compression.datasets.folder import FolderDataset
from model_compression.datasets.image_set import ImageSetDataset
from model_compression.datasets.json_folder import JsonFolderDataset
from model_compression.datasets.json_record import JsonRecordDataset
from model_compression.datasets.normalization import NormalizationDataset
from model_compression.datasets.onnx_model import OnnxModelDataset
from model_compression.datasets.onnx_model_folder import OnnxModelFolderDataset
from model_compression.datasets.optional import OptionalDataset
from model_compression.datasets.training_state import TrainingStateDataset
from model_compression.datasets.training_state_folder import TrainingStateFolderDataset

__all__ = [
    "AnswerShelfDataset",
    "CheckpointDataset",
    "CheckpointFolderDataset",
    "FolderDataset",
    "ImageSetDataset",
    "JsonFolderDataset",
    "JsonRecordDataset",
    "NormalizationDataset",
    "OnnxModelDataset",
    "OnnxModelFolderDataset",
    "OptionalDataset",
    "TrainingStateDataset",
    "TrainingStateFolderDataset",
]
