import torch

from model_compression.training.readings import read_later


def test_a_reading_is_of_the_moment_when_it_was_asked_for():
    value = torch.tensor(1.5)
    read = read_later(value)
    value += 1
    assert read() == 1.5
    assert read_later(torch.tensor(7))() == 7.0
