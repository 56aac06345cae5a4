"""What each layer bears: judged one by one, nothing twice."""

import math

import pytest
import torch
from torch import nn

from model_compression.evaluation import Score
from model_compression.models import ModelSettings, build_model
from model_compression.pruning.channels import ChannelPruningSettings
from model_compression.pruning.layer_cuts import layer_cuts
from model_compression.pruning.sensitivity import damage_by_layer, measure_sensitivity

SHAPE = (1, 12, 12)
RATIOS = (0.1, 0.3, 0.5, 0.6)


class Judge:
    """Scores a network by how many numbers it has, and keeps their widths."""

    def __init__(self) -> None:
        self.seen: list[dict[str, int]] = []

    def __call__(self, module: nn.Module) -> Score:
        self.seen.append(
            {name: each.shape[0] for name, each in module.state_dict().items() if each.ndim == 4}
        )
        numbers = sum(each.numel() for each in module.parameters())
        return Score(accuracy=numbers / 1e6, loss=1 / numbers)


@pytest.fixture
def cuts():
    torch.manual_seed(0)
    module = build_model(ModelSettings(name="resnet8").spec(SHAPE, 5)).eval()
    settings = ChannelPruningSettings(method="channels", target="macs", round_to=8)
    return layer_cuts(module, SHAPE, settings, seed=0)


def test_a_row_says_what_the_network_without_this_share_of_this_layer_is_worth(cuts):
    judge = Judge()
    rows = list(measure_sensitivity(cuts, RATIOS, judge))
    assert [(row.layer, row.ratio) for row in rows] == [
        (layer, ratio) for layer in cuts.layers for ratio in RATIOS
    ]
    whole = Judge()(cuts.without({}))
    for row in rows:
        alone = Judge()(cuts.without({row.layer: row.removed}))
        assert (row.accuracy, row.loss) == alone
        assert row.accuracy_drop == whole.accuracy - alone.accuracy
        assert row.loss_increase == alone.loss - whole.loss
        assert row.removed == cuts.nearest(row.layer, row.ratio)
        assert row.target_removed == pytest.approx(cuts.removed({row.layer: row.removed}))


def test_what_rounding_makes_the_same_is_judged_once(cuts):
    judge = Judge()
    rows = list(measure_sensitivity(cuts, RATIOS, judge))
    different = {(row.layer, row.removed) for row in rows if row.removed > 0}
    assert len(judge.seen) == 1 + len(different) < len(rows)
    assert rows[0].removed == rows[0].accuracy_drop == rows[0].loss_increase == 0.0
    # One layer at a time: what the first lost is whole again when the others are judged.
    first, last = cuts.layers[0], judge.seen[-1]
    assert last[f"{first}.weight"] == judge.seen[0][f"{first}.weight"]


def test_damage_never_shrinks_as_more_goes():
    measured = [
        ("a", 0.5, 0.3),
        ("a", 0.25, 0.4),
        ("a", 0.0, 0.0),
        ("a", 0.75, math.nan),
        ("b", 0.5, -0.2),
    ]
    damage = damage_by_layer(measured)
    assert damage == {"a": {0.25: 0.4, 0.5: 0.4, 0.75: math.inf}, "b": {0.5: 0.0}}
    assert list(damage["a"]) == [0.25, 0.5, 0.75]
