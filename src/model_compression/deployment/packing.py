"""How small a file gets on its way: entropy-coded size.

Knows bytes only.
"""

import zstandard

_LEVEL = 22
"""Zstandard's strongest: a file is packed once and sent often."""


def packed_size(content: bytes) -> int:
    """Bytes of ``content`` compressed by Zstandard; what a download of it costs."""
    return len(zstandard.ZstdCompressor(level=_LEVEL).compress(content))
