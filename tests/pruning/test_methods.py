import pytest
from pydantic import TypeAdapter, ValidationError

from model_compression.pruning import (
    ChannelPruningSettings,
    MaskPruningSettings,
    NMPruningSettings,
    PruningMethod,
    needs,
    schedule_of,
)
from model_compression.pruning.schedules import Cubic, OneShot

METHODS = TypeAdapter(PruningMethod)


def test_the_method_decides_which_settings_there_are():
    channels = METHODS.validate_python({"method": "channels", "ratio": 0.5})
    masks = METHODS.validate_python({"method": "weights", "sparsity": 0.5})
    pattern = METHODS.validate_python({"method": "n_m", "n": 2, "m": 4})
    assert isinstance(channels, ChannelPruningSettings)
    assert isinstance(masks, MaskPruningSettings)
    assert isinstance(pattern, NMPruningSettings)
    with pytest.raises(ValidationError, match="sparsity"):
        METHODS.validate_python({"method": "channels", "ratio": 0.5, "sparsity": 0.5})


@pytest.mark.parametrize(
    ("settings", "evidence"),
    [
        ({"method": "channels", "importance": "l2"}, set()),
        ({"method": "channels", "importance": "taylor"}, {"gradients"}),
        ({"method": "channels", "importance": "hessian"}, {"squared_gradients"}),
        ({"method": "weights", "importance": "taylor"}, {"gradients"}),
        ({"method": "weights", "importance": "wanda"}, {"input_norms"}),
        ({"method": "n_m", "importance": "wanda"}, {"input_norms"}),
    ],
)
def test_an_importance_says_what_it_has_to_see(settings, evidence):
    assert needs(METHODS.validate_python(settings)) == evidence


def test_n_of_m_weights_are_left_at_once_and_others_as_their_schedule_says():
    assert schedule_of(METHODS.validate_python({"method": "n_m"})) == OneShot()
    cubic = {"method": "weights", "schedule": {"name": "cubic", "end": 0.7}}
    assert schedule_of(METHODS.validate_python(cubic)) == Cubic(name="cubic", end=0.7)
