import os

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from model_compression.deployment import packed_size


@given(st.binary(max_size=2000))
def test_no_level_of_zstandard_packs_smaller_by_more_than_a_frame(content: bytes):
    sizes = [len(zstandard.compress(content, level)) for level in (1, 3, 19)]
    assert packed_size(content) <= min(sizes) + 8


def test_repetition_packs_and_noise_does_not():
    assert packed_size(b"abcdefgh" * 10_000) < 100
    noise = os.urandom(10_000)
    assert packed_size(noise) >= len(noise)
