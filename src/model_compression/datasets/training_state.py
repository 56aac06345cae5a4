"""A stage's training state as a file; where training goes on from.

Knows the file; what a state means is in training/.
"""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from model_compression.training import TrainingState, read_training_state, write_training_state


class TrainingStateDataset(AbstractDataset[TrainingState, TrainingState | None]):
    """Loads and saves a ``TrainingState``.

    It exists only once its training is finished, so ``kedro run --only-missing-outputs`` goes on
    with a training that was cut off.
    """

    def __init__(
        self, filepath: str, optional: bool = False, metadata: dict[str, Any] | None = None
    ) -> None:
        """Places the state.

        Args:
            filepath: The safetensors file.
            optional: Load ``None`` where there is no file, rather than fail.
            metadata: Whatever plugins want to know.
        """
        self._filepath = Path(filepath)
        self._optional = optional
        self.metadata = metadata

    def load(self) -> TrainingState | None:
        """The stored state; ``None`` if it is optional and there is none.

        Raises:
            TensorFileError: If the file is truncated, altered or something else.
        """
        if self._optional and not self._filepath.exists():
            return None
        return read_training_state(self._filepath)

    def save(self, data: TrainingState) -> None:
        """Writes the state, whole or not at all."""
        write_training_state(data, self._filepath)

    def _exists(self) -> bool:
        return self._filepath.exists() and read_training_state(self._filepath).finished

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "optional": self._optional}
