"""The strict base class of every typed parameter group.

Knows nothing of what the parameters mean; the settings of a thing live beside the thing.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Parameters(BaseModel):
    """A group of parameters that refuses unknown keys and never changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turns nested mappings into one level with dotted keys: ``{"a": {"b": 1}}`` → ``{"a.b": 1}``.

    Lists and other leaves are kept as they are.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat
