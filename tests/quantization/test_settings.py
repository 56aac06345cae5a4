import pytest
from pydantic import TypeAdapter

from model_compression.quantization.settings import (
    DynamicSettings,
    PostTrainingSettings,
    QatSettings,
    QuantizationMethod,
    StaticSettings,
    WeightGrid,
    WeightOnlySettings,
)


def test_a_layers_own_bits_go_before_those_of_the_ends_and_those_before_the_networks():
    settings = QatSettings(weight_bits=2, end_bits=8, bits={"b": 4, "c": 32})
    assert settings.grid("a") == WeightGrid("max", 2, "channel", reduced=True)
    assert settings.grid("a", is_end=True) == WeightGrid("max", 7, "channel", reduced=True)
    assert settings.grid("b", is_end=True) == WeightGrid("max", 4, "channel", reduced=True)
    assert settings.grid("c", is_end=True) is None


def test_a_reduced_range_takes_a_bit_from_8_only():
    settings = QatSettings(bits={"b": 4})
    assert settings.grid("a").bits == 7
    assert settings.grid("b").bits == 4
    assert QatSettings(reduce_range=False).grid("a").bits == 8


@pytest.mark.parametrize("grid_steps", ["max", "learned", "codebook"])
@pytest.mark.parametrize("bits", [2, 4, 7, 8])
def test_two_products_of_the_largest_integers_fit_into_16_bits_unless_they_need_not(
    grid_steps, bits
):
    def largest(**options):
        return QatSettings(grid_steps=grid_steps, weight_bits=bits, **options).grid("a").largest

    assert 2 * 255 * largest() < 2**15
    if bits == 8 or grid_steps == "codebook":
        assert largest(reduce_range=False) == 127


def test_weights_that_meet_floats_have_all_their_range():
    assert WeightOnlySettings(method="weight_only").grid("a").largest == 127


def test_a_kept_batch_norm_needs_a_step_a_channel():
    assert QatSettings().keeps_norms
    assert not QatSettings(sharing="tensor").keeps_norms
    with pytest.raises(ValueError, match="batch_norms fold"):
        QatSettings(sharing="tensor", batch_norms="keep")


@pytest.mark.parametrize("bits", [1, 9, 16, 31, 33])
def test_bits_that_no_weight_has_are_refused_with_the_layers_name(bits):
    with pytest.raises(ValueError, match="stem"):
        QatSettings(bits={"stem": bits})


def test_a_method_has_its_own_settings_alone():
    adapter = TypeAdapter(QuantizationMethod)
    assert isinstance(adapter.validate_python({"method": "static"}), StaticSettings)
    assert isinstance(adapter.validate_python({"method": "weight_only"}), WeightOnlySettings)
    assert isinstance(adapter.validate_python({"method": "dynamic"}), DynamicSettings)
    assert isinstance(adapter.validate_python({"method": "qat"}), QatSettings)
    with pytest.raises(ValueError, match="averaging"):
        adapter.validate_python({"method": "static", "averaging": 0.1})
    for method in ("weight_only", "dynamic"):
        with pytest.raises(ValueError, match="activation_range"):
            adapter.validate_python({"method": method, "activation_range": {}})
        with pytest.raises(ValueError, match="activation_grid"):
            adapter.validate_python({"method": method, "activation_grid": "symmetric"})


def test_learned_rounding_needs_even_steps():
    with pytest.raises(ValueError, match="equal steps"):
        PostTrainingSettings(grid_steps="codebook", rounding={})


def test_weights_alone_leave_activations_floats():
    assert WeightOnlySettings(method="weight_only").activations == "none"
    assert StaticSettings(method="static").activations == "static"
