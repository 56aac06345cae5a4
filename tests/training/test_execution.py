import pytest
import torch
from torch import nn

from model_compression.quantization import prepare_qat
from model_compression.training.execution import Execution, can_be_compiled, using_threads
from model_compression.training.tuning import Choices


def test_a_way_says_what_it_is_and_how_to_set_it():
    way = Execution("bfloat16", channels_last=False, compiled=True, threads=1)
    assert str(way) == "bfloat16, contiguous, compiled, 1 thread"
    assert (way.dtype, way.memory_format) == (torch.bfloat16, torch.contiguous_format)
    assert Choices(**way.as_settings()).usual(torch.device("cpu")) == way


def test_threads_are_as_before_afterwards_even_after_an_error():
    before = torch.get_num_threads()
    seen = []

    def work():
        with using_threads(before + 1):
            seen.append(torch.get_num_threads())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_captured_graphs_are_not_compiled():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    assert can_be_compiled(network)
    assert not can_be_compiled(prepare_qat(network, (1, 5, 5)))
