import pytest
import torch

from model_compression.distillation.layers import as_map, check_layers, stage_ends
from model_compression.distillation.method import DistillationError

IMAGES = torch.zeros(2, 3, 8, 8)


def test_maps_are_passed_on():
    output = torch.randn(2, 5, 4, 4)
    assert as_map(output, IMAGES) is output


def test_channels_last_maps_are_permuted():
    output = torch.randn(2, 4, 4, 5)
    torch.testing.assert_close(as_map(output, IMAGES), output.permute(0, 3, 1, 2))


def test_as_many_channels_as_rows_are_read_channels_first():
    output = torch.randn(2, 4, 4, 4)
    assert as_map(output, IMAGES) is output


@pytest.mark.parametrize("class_token", [0, 1])
def test_tokens_are_put_in_their_places_without_the_class_token(class_token):
    output = torch.randn(2, 16 + class_token, 5)
    expected = output[:, class_token:].reshape(2, 4, 4, 5).permute(0, 3, 1, 2)
    torch.testing.assert_close(as_map(output, IMAGES), expected)


def test_tokens_of_a_wide_image_make_a_wide_map():
    output = torch.randn(2, 8, 5)
    assert as_map(output, torch.zeros(2, 3, 8, 16)).shape == (2, 5, 2, 4)


def test_tokens_that_fill_no_rectangle_are_no_map():
    assert as_map(torch.randn(2, 15, 5), IMAGES) is None


def test_vectors_are_maps_of_one_pixel():
    assert as_map(torch.randn(2, 5), IMAGES).shape == (2, 5, 1, 1)


@pytest.mark.parametrize("output", [None, (torch.zeros(2, 3),), torch.zeros(8, 3, 4, 4)])
def test_what_is_not_a_value_an_image_is_no_map(output):
    assert as_map(output, IMAGES) is None


RESIDUAL = {
    "stem": (28, 28),
    "stages.0.conv": (28, 28),
    "stages.0": (28, 28),
    "stages.1.conv": (14, 14),
    "stages.1": (14, 14),
    "stages.2.conv1": (14, 14),
    "stages.2.conv2": (7, 7),
    "stages.2": (7, 7),
    "stages": (7, 7),
    "pool": (1, 1),
    "classifier": (1, 1),
    "": (1, 1),
}


def test_stages_end_where_the_size_changes_and_not_inside_a_block():
    assert stage_ends(RESIDUAL) == ["stages.0", "stages.1", "stages.2"]


def test_a_layer_that_shrinks_the_map_belongs_to_what_it_gives():
    # ConvNeXt's downsampling: the norm inside of it still sees the larger map.
    sizes = {
        "block1": (8, 8),
        "down.norm": (8, 8),
        "down.conv": (4, 4),
        "down": (4, 4),
        "block2": (4, 4),
        "head": (1, 1),
        "": (1, 1),
    }
    assert stage_ends(sizes) == ["block1", "block2"]


def test_an_enlarging_pool_is_no_stage():
    sizes = {"conv": (4, 4), "pool": (2, 2), "fixed": (7, 7), "head": (1, 1), "": (1, 1)}
    assert stage_ends(sizes) == ["conv", "pool"]


def test_a_network_without_maps_is_seen_by_its_last_hidden_vector():
    sizes = {"linear": (1, 1), "relu": (1, 1), "classifier": (1, 1), "": (1, 1)}
    assert stage_ends(sizes) == ["relu"]


def test_a_wrong_path_is_refused_with_the_right_ones():
    with pytest.raises(DistillationError) as error:
        check_layers(["stage.1"], RESIDUAL, "ResNet")
    assert "ResNet has no layer 'stage.1'" in str(error.value)
    assert "did you mean stages.1" in str(error.value)
    assert "its stages end with stages.0, stages.1, stages.2" in str(error.value)


def test_a_network_behind_a_view_has_the_stages_it_has_without():
    wrapped = {f"network.{path}" if path else "network": size for path, size in RESIDUAL.items()}
    wrapped[""] = (1, 1)
    assert stage_ends(wrapped) == [f"network.stages.{index}" for index in range(3)]
