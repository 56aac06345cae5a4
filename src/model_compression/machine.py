"""What this machine is called.

Knows what the system tells; nothing of what runs on it.
"""

import platform
from pathlib import Path

EXTENSIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "VNNI",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "bfloat16",
    "amx_tile": "AMX",
    "asimddp": "dot product",
    "i8mm": "int8 matrices",
    "bf16": "bfloat16",
    "sve": "SVE",
}
"""Linux's flags of an x86 or ARM processor that decide how fast it multiplies few bits: what its
name leaves out, as virtual machines call several generations alike."""


def processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name and its ``EXTENSIONS`` in parentheses, as far as the system tells them.

    Args:
        info: What Linux says of it.
    """
    said: dict[str, str] = {}
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            said.setdefault(key.strip(), value.strip())
    name = said.get("model name") or platform.processor() or platform.machine()
    flags = set((said.get("flags") or said.get("Features") or "").split())
    known = dict.fromkeys(title for flag, title in EXTENSIONS.items() if flag in flags)
    return f"{name} ({', '.join(known)})" if known else name
