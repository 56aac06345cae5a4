import torch
from torch import nn

from model_compression.evaluation import count_macs, count_parameters


def test_macs_are_those_of_the_formula():
    module = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, 5),
    )
    convolution = 6 * (2 // 2) * 3 * 3 * 4 * 4
    assert count_macs(module, (2, 8, 8)) == convolution + 6 * 4 * 4 * 5


def test_counting_changes_neither_mode_nor_statistics():
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    count_macs(module, (1, 2, 2))
    assert module.training
    assert module[1].training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_zeros_and_shared_parameters_are_counted_as_what_they_are():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    nn.init.zeros_(first.bias)
    nn.init.ones_(second.bias)
    nn.init.ones_(first.weight)
    with torch.no_grad():
        first.weight[0, 0] = 0
    assert count_parameters(nn.Sequential(first, second)) == (15, 11)


def test_attention_is_counted_however_fast_it_would_run():
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    module = nn.Sequential(nn.Flatten(2), attention, nn.Flatten(), nn.Linear(24, 2))
    tokens, width, hidden = 3, 8, 16
    projections = 4 * tokens * width * width
    products = 2 * tokens * tokens * width
    expected = projections + products + 2 * tokens * width * hidden + 24 * 2
    assert count_macs(module, (3, 2, 4)) == expected
