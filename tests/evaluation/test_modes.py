import pytest
import torch
from torch import nn

from model_compression.evaluation import device_of, evaluating


def test_each_part_gets_its_own_mode_back_even_after_an_error():
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    module[0].eval()

    def fail_in_evaluation() -> None:
        with evaluating(module):
            assert not any(part.training for part in module.modules())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_in_evaluation()
    assert [part.training for part in module.modules()] == [True, False, True]


def test_what_a_module_does_beyond_its_flag_is_undone_too():
    class Remembering(nn.Module):
        def train(self, mode: bool = True) -> "Remembering":
            self.rate = 0.5 if mode else 0.0
            return super().train(mode)

    module = Remembering().train()
    with evaluating(module):
        assert module.rate == 0
    assert module.rate == 0.5


def test_an_exported_graph_is_left_as_it_is():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    exported = torch.export.export(module, (torch.zeros(1, 2),)).module()
    with evaluating(exported):
        exported(torch.zeros(1, 2))


def test_the_device_is_that_of_parameters_or_buffers_or_the_cpu():
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert device_of(nn.BatchNorm1d(1, affine=False, device="meta")) == torch.device("meta")
    assert device_of(nn.ReLU()) == torch.device("cpu")
