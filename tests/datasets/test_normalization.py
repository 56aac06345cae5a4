import json

from model_compression.datasets import NormalizationDataset
from model_compression.images import Normalization


def test_normalization_comes_back_to_the_last_bit(tmp_path):
    dataset = NormalizationDataset(str(tmp_path / "folder" / "normalization.json"))
    constants = Normalization(mean=(0.1 + 0.2, 1 / 3), std=(0.7, 1.0))
    assert not dataset.exists()
    dataset.save(constants)
    assert dataset.exists()
    assert dataset.load() == constants
    assert json.loads(dataset.preview()) == {"mean": [0.1 + 0.2, 1 / 3], "std": [0.7, 1.0]}
