"""A folder of checkpoints in the catalog.

Knows Kedro; what a checkpoint's file looks like is models.checkpoint's business.
"""

from model_compression.datasets.files_by_name import FilesByName
from model_compression.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


class CheckpointFolderDataset(FilesByName[Checkpoint]):
    """A safetensors file a name. Loading reads a file when it is asked for; saving adds, replaces.

    ::

        more_teachers:
          type: model_compression.datasets.CheckpointFolderDataset
          filepath: data/06_models/more_teachers
    """

    suffix = ".safetensors"
    read = staticmethod(read_checkpoint)
    write = staticmethod(write_checkpoint)
