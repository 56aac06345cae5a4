"""Heads come back whatever they are, and those of graphs take few bytes."""

import time

import numpy as np
import onnx
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from model_compression.deployment import OnnxModel, head_coding
from model_compression.deployment.head_coding import code_head
from model_compression.deployment.range_coder import RangeDecoder, RangeEncoder
from model_compression.deployment.typical_files import typical_heads


def encoded(head: bytes) -> bytes:
    encoder = RangeEncoder()
    assert code_head(encoder, head, len(head)) == head
    return encoder.finish()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=30), st.just(b"Conv"), st.just(b"\0" * 9))))
def test_what_was_encoded_is_decoded(parts):
    head = b"".join(parts)
    assert code_head(RangeDecoder(encoded(head)), None, len(head)) == head


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 60))
def test_any_bytes_decode_to_a_head_of_the_size_that_is_asked_for(content, size):
    assert len(code_head(RangeDecoder(content), None, size)) == size


def graph(model: OnnxModel) -> bytes:
    """The file without its numbers."""
    proto = onnx.ModelProto.FromString(model.content)
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")
    return proto.SerializeToString()


def test_a_graph_takes_fewer_bytes_than_by_zstandard(float_export, int8_export):
    for exported in (float_export, int8_export):
        head = graph(exported.model)
        zstd = len(zstandard.ZstdCompressor(level=22).compress(head))
        assert len(encoded(head)) < 0.6 * zstd


def test_typical_heads_teach(int8_export, monkeypatch):
    head = graph(int8_export.model)
    taught = len(encoded(head))
    monkeypatch.setattr(head_coding, "typical_heads", tuple)
    head_coding._taught.cache_clear()
    untaught = len(encoded(head))
    head_coding._taught.cache_clear()
    assert taught < 0.7 * untaught


def test_one_head_teaches_the_next_nothing():
    """The container of a file is the same whatever was packed before."""
    head = np.random.default_rng(0).bytes(200)
    assert encoded(head) == encoded(head)


def test_noise_costs_little_more_than_itself():
    head = np.random.default_rng(0).bytes(2000)
    assert len(encoded(head)) < 1.06 * len(head)


def test_what_repeats_costs_nearly_nothing():
    assert len(encoded(b"an initializer " * 200)) < 60


@pytest.mark.parametrize("content", [b"", b"\xff" * 4000, b"\x5a" * 4000])
def test_the_largest_head_is_read_in_seconds(content):
    began = time.process_time()
    code_head(RangeDecoder(content), None, head_coding.LARGEST_HEAD // 16)
    assert time.process_time() - began < 30 / 16 + 3


def test_typical_heads_are_of_three_graphs():
    heads = typical_heads()
    assert len(heads) == 3
    assert all(b"model-compression" in head and b"fingerprint" in head for head in heads)
    assert [b"QuantizeLinear" in head for head in heads] == [False, True, True]
