"""Named tensors and a JSON header in one file that is safe to open: safetensors, never a pickle.

Knows tensors and JSON; what they mean is its caller's business.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model_compression.files import atomic_write

_METADATA_KEY = "header"


class TensorFileError(ValueError):
    """A file that isn't there, isn't ours, or isn't as it was written."""


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Writes ``tensors`` and ``header`` with a SHA-256 of both, whole or not at all.

    The same tensors and header give the same bytes. That is why the digest lies in the same
    metadata entry as the header: safetensors writes several entries in random order.

    Args:
        path: The file; its folder is made where missing.
        tensors: Dense tensors of any dtype, shape, stride and device; they may share memory.
        header: JSON values; tuples come back as lists.

    Raises:
        TypeError: If the header holds something that JSON has not.
        ValueError: If the header holds a NaN or an infinity.
    """
    as_read = json.loads(json.dumps(header, allow_nan=False))
    plain = _unshared(tensors)
    envelope = {"header": as_read, "sha256": _digest(_canonical(as_read), plain)}
    with atomic_write(path) as temporary:
        save_file(plain, temporary, {_METADATA_KEY: _canonical(envelope)})


def read_tensor_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what ``write_tensor_file`` wrote, and checks that nothing of it has changed.

    Returns:
        The tensors, contiguous and on the CPU, and the header.

    Raises:
        TensorFileError: If the file is missing, truncated, altered, or from elsewhere.
    """
    if not path.is_file():
        raise TensorFileError(f"{path} isn't there: run the stage that writes it")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Cloned, as safetensors maps the file: a later change of it must not change weights.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise TensorFileError(
            f"{path} is truncated or no safetensors file ({error}): restore it, or delete it and "
            "run the stage that writes it"
        ) from error
    header, expected = _open_envelope(path, metadata)
    actual = _digest(_canonical(header), tensors)
    if actual != expected:
        raise TensorFileError(
            f"{path} has been altered since it was written (SHA-256 {expected} expected, {actual} "
            "found): restore it, or delete it and run the stage that writes it"
        )
    return tensors, header


def _open_envelope(path: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    try:
        envelope = json.loads(metadata[_METADATA_KEY])
        header, digest = envelope["header"], envelope["sha256"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise TensorFileError(
            f"{path} is a safetensors file, but not one of this project (its metadata has no "
            f"readable {_METADATA_KEY!r} entry): pass a file that this project wrote"
        ) from error
    return header, digest


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU, each with memory of its own, as safetensors wants them."""
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.untyped_storage().data_ptr() in seen:
            own = own.clone()
        seen.add(own.untyped_storage().data_ptr())
        plain[name] = own
    return plain


def _digest(header_json: str, tensors: Mapping[str, Tensor]) -> str:
    sha256 = hashlib.sha256(header_json.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha256.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        sha256.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
