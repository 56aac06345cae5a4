"""A folder of training states in the catalog.

Knows Kedro; what a state means is in training/.
"""

from model_compression.datasets.files_by_name import FilesByName
from model_compression.training import TrainingState, read_training_state, write_training_state


class TrainingStateFolderDataset(FilesByName[TrainingState]):
    """A safetensors file a name. Loading reads a file when it is asked for; saving adds, replaces.

    ::

        ablation.training_states:
          type: model_compression.datasets.TrainingStateFolderDataset
          filepath: data/06_models/ablation/training_states
    """

    suffix = ".safetensors"
    read = staticmethod(read_training_state)
    write = staticmethod(write_training_state)
