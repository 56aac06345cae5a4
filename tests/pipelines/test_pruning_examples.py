from pathlib import Path

import pytest
import yaml

from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pruning import schedule_of

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize(
    ("env", "method", "schedule"),
    [
        ("base", "channels", "one_shot"),
        ("slim", "channels", "iterative"),
        ("masks", "weights", "cubic"),
        ("n_m", "n_m", "one_shot"),
    ],
)
def test_each_family_has_an_example_that_is_valid(env, method, schedule):
    base = yaml.safe_load((CONF / "base" / "parameters_pruning.yml").read_text())["pruning"]
    if env != "base":
        example = yaml.safe_load((CONF / env / "parameters.yml").read_text())["pruning"]
        base["pruning"] |= example["pruning"]
    settings = PruningParameters.model_validate(base).pruning
    assert (settings.method, schedule_of(settings).name) == (method, schedule)
