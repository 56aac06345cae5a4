"""Random numbers that are a pure function of counters: no generator, no state to keep.

Knows nothing of what the numbers decide. Every random choice about images (splits, the order of an
epoch, augmentation) is drawn from here.
"""

import torch
from torch import Tensor

# splitmix64 (Steele, Lea and Flood, OOPSLA 2014), its constants written as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64

_UNIFORM_BITS = 24
UNIFORM_RANGE = 2**_UNIFORM_BITS
"""`uniform` gives integers below this."""


def random_bits(*counters: int | Tensor) -> Tensor:
    """Hashes counters to 64 random bits: splitmix64, absorbing one counter after the other.

    With one counter c this is the first output of splitmix64 seeded with c. Different values of the
    last counter never collide while the others stay the same.

    Args:
        counters: Integers, or int64 tensors that broadcast against each other.

    Returns:
        int64 tensor of the broadcast shape, all 64 bits random, the same on every device.
    """
    state = torch.zeros((), dtype=torch.int64)
    for counter in counters:
        value = counter if isinstance(counter, Tensor) else torch.tensor(_signed(counter))
        state = _mix((state ^ value) + _GOLDEN)
    return state


def uniform(bits: Tensor, limit: int) -> Tensor:
    """Maps random bits evenly to the integers 0, …, ``limit`` - 1; ``limit`` is at most 2**24.

    Args:
        bits: Random bits, int64.
        limit: How many values there are.

    Returns:
        int64 tensor of the same shape. No value is likelier than another by more than 2**-24.
    """
    return (_shift_right(bits, 64 - _UNIFORM_BITS) * limit) >> _UNIFORM_BITS


def _mix(state: Tensor) -> Tensor:
    state = (state ^ _shift_right(state, 30)) * _MIX_1
    state = (state ^ _shift_right(state, 27)) * _MIX_2
    return state ^ _shift_right(state, 31)


def _shift_right(value: Tensor, bits: int) -> Tensor:
    # torch's >> repeats the sign bit; the mask makes it a logical shift.
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63
