import pytest
import torch

from model_compression.training import hardware
from model_compression.training.hardware import (
    autocast,
    exact_float32,
    resolve_device,
    resolve_precision,
)


def test_cuda_without_a_device_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device is 'cuda'.*'auto' or 'cpu'"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    ("available", "name", "expected"),
    [(True, "auto", "cuda"), (True, "cpu", "cpu"), (False, "auto", "cpu"), (True, "cuda", "cuda")],
)
def test_auto_takes_cuda_where_there_is_one(monkeypatch, available, name, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device(name).type == expected


@pytest.mark.parametrize("native", [True, False])
def test_auto_takes_bfloat16_only_where_it_is_native(monkeypatch, native):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(hardware.torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    expected = torch.bfloat16 if native else torch.float32
    assert resolve_precision("auto", torch.device("cpu")) == expected


def test_a_fixed_precision_is_taken_as_it_is():
    cpu = torch.device("cpu")
    assert resolve_precision("bfloat16", cpu) == torch.bfloat16
    assert resolve_precision("float32", cpu) == torch.float32


def test_autocast_computes_in_its_type_and_keeps_the_weights():
    cpu = torch.device("cpu")
    layer = torch.nn.Linear(2, 2)
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(dtype, cpu):
            assert layer(torch.ones(1, 2)).dtype == dtype
        assert layer.weight.dtype == torch.float32


def test_float32_is_not_rounded_by_convolutions_on_a_gpu():
    before = torch.backends.cudnn.allow_tf32
    with exact_float32():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
