"""A training that can stop at any epoch and go on as if it never had.

Knows tensors and rows; which network they belong to is the checkpoint's business.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model_compression.models.checkpoint import Checkpoint
from model_compression.models.tensor_file import (
    TensorFileError,
    read_tensor_file,
    write_tensor_file,
)
from model_compression.training.execution import Execution

FORMAT_VERSION = 1


History = list[dict[str, float]]
"""A row an epoch: epoch, learning_rate, train_loss, train_accuracy, validation_loss,
validation_accuracy, seconds."""


@dataclass(frozen=True)
class TrainingState:
    """Everything that the next epoch depends on, and the best network so far."""

    best: Checkpoint
    """The best network so far by validation loss; its fingerprint is the training's."""
    epoch: int
    """Epochs done."""
    finished: bool
    weights: dict[str, Tensor]
    averaged: dict[str, Tensor]
    """The exponential moving average of the weights; empty without one."""
    objective: dict[str, Tensor]
    optimizer: dict[str, Any]
    """The optimiser's ``state_dict()``."""
    history: History
    execution: Execution | None = None
    """How its steps were computed; to be bit-identical, the next ones are computed likewise."""
    machine: str = ""
    """What computed them, and in how many processes: elsewhere the way is chosen anew."""

    @property
    def fingerprint(self) -> str:
        """What was trained on what and how; a state of another fingerprint is not resumed."""
        return self.best.fingerprint


def write_training_state(state: TrainingState, path: Path) -> None:
    """Writes ``state`` to one safetensors file, whole or not at all."""
    slots = state.optimizer["state"]
    tensors = {
        **{f"best/{name}": tensor for name, tensor in state.best.weights.items()},
        **{f"weights/{name}": tensor for name, tensor in state.weights.items()},
        **{f"averaged/{name}": tensor for name, tensor in state.averaged.items()},
        **{f"objective/{name}": tensor for name, tensor in state.objective.items()},
        **{
            f"optimizer/{index}/{name}": torch.as_tensor(value)
            for index, slot in slots.items()
            for name, value in slot.items()
            if value is not None
        },
    }
    header = {
        "format": "training_state",
        "format_version": FORMAT_VERSION,
        "epoch": state.epoch,
        "finished": state.finished,
        "history": state.history,
        "execution": None if state.execution is None else asdict(state.execution),
        "machine": state.machine,
        "optimizer_groups": state.optimizer["param_groups"],
        "best": state.best.header(),
    }
    write_tensor_file(path, tensors, header)


def read_training_state(path: Path) -> TrainingState:
    """Reads what ``write_training_state`` wrote.

    Raises:
        TensorFileError: If the file is truncated, altered or something else.
    """
    tensors, header = read_tensor_file(path)
    if header.get("format") != "training_state" or header.get("format_version") != FORMAT_VERSION:
        raise TensorFileError(
            f"{path} is not a training state of format {FORMAT_VERSION} (it says "
            f"{header.get('format')!r}, version {header.get('format_version')!r}): delete it, and "
            "the stage starts over"
        )
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer/", tensors).items():
        index, _, slot = name.partition("/")
        slots.setdefault(int(index), {})[slot] = tensor
    return TrainingState(
        best=Checkpoint.from_header(header["best"], _under("best/", tensors)),
        epoch=header["epoch"],
        finished=header["finished"],
        weights=_under("weights/", tensors),
        averaged=_under("averaged/", tensors),
        objective=_under("objective/", tensors),
        optimizer={"state": slots, "param_groups": header["optimizer_groups"]},
        history=header["history"],
        # States of before this was chosen have none.
        execution=Execution(**found) if (found := header.get("execution")) else None,
        machine=header.get("machine", ""),
    )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
