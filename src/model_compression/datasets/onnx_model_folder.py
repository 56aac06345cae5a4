"""A folder of deployable files in the catalog.

Knows Kedro; what such a file looks like is deployment.onnx_model's business.
"""

from model_compression.datasets.files_by_name import FilesByName
from model_compression.deployment import OnnxModel, read_onnx, write_onnx


class OnnxModelFolderDataset(FilesByName[OnnxModel]):
    """An ONNX file a name. Loading reads a file when it is asked for; saving adds and replaces.

    ::

        ablation.onnx:
          type: model_compression.datasets.OnnxModelFolderDataset
          filepath: data/06_models/ablation/onnx
    """

    suffix = ".onnx"
    read = staticmethod(read_onnx)
    write = staticmethod(write_onnx)
