"""Content hashes by which the project recognises that a result can be reused.

Knows how to hash plain values; what belongs into a fingerprint is its caller's business.
"""

import hashlib
import json
from typing import Any

from pydantic import BaseModel

IDENTITY = {"purpose": "fingerprint"}
"""The context in which models are dumped for a hash: they may leave out what changes no result."""


def fingerprint(*parts: Any) -> str:
    """SHA-256 of the canonical JSON of ``parts``, as 32 hexadecimal digits.

    Args:
        parts: JSON-serialisable values or pydantic models; the order of mappings' keys plays no
            role, the order of parts does.

    Raises:
        TypeError: If a part is neither JSON-serialisable nor a pydantic model.
    """
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", context=IDENTITY)
    raise TypeError(f"A fingerprint takes JSON values and pydantic models, not {type(value)!r}.")
