import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from model_compression.models import (
    ModelError,
    ModelSettings,
    ModelSpec,
    available_models,
    build_model,
)
from model_compression.models.spec import probe

OWN = ["net", "resnet8", "resnet14", "resnet20", "resnet32", "resnet56"]


@pytest.mark.parametrize("name", [*OWN, "wrn_16_1", "wrn_10_2"])
def test_every_own_network_is_built_by_its_name(name: str) -> None:
    spec = ModelSettings(name=name).spec((1, 14, 14), 3)
    assert build_model(spec)(torch.zeros(2, 1, 14, 14)).shape == (2, 3)


def test_a_name_decides_depth_and_width() -> None:
    model = build_model(ModelSettings(name="wrn_22_3").spec((1, 12, 12), 3))
    assert [len(stage) for stage in model.stages] == [3, 3, 3]
    assert model.classifier.in_features == 64 * 3


def test_options_reach_the_constructor() -> None:
    spec = ModelSettings(name="resnet8", options={"width": 5}).spec((1, 12, 12), 3)
    assert build_model(spec).stem.out_channels == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "resnet21"}, "no model 'resnet21'; there are, for example, .*resnet20"),
        ({"name": "wrn_17_2"}, "no model 'wrn_17_2'"),
        ({"name": "wrn_16_0"}, "no model 'wrn_16_0'"),
        ({"name": "qqq"}, "for example, net, resnet8"),
        ({"name": ""}, "at least 1 character"),
        ({"name": "net", "options": {"width": 2}}, "no option width; the options are: none"),
        ({"name": "resnet8", "options": {"widht": 2}}, "widht; the options are: stem_stride, wi"),
        ({"name": "resnet8", "options": {"depth": 20}}, "takes no option depth"),
        ({"name": "resnet8", "options": {"width": 0}}, "can't be built with {'width': 0}: width"),
        ({"name": "wrn_16_2", "options": {"dropout": 1}}, "dropout must be in"),
        ({"name": "net", "options": {"a": object()}}, "plain JSON values"),
        ({"name": "net", "options": {"a": float("nan")}}, "plain JSON values"),
        ({"name": "net", "optoins": {}}, "optoins"),
    ],
)
def test_an_impossible_choice_is_refused_when_it_is_read(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSettings(**values)


def test_checking_a_choice_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    ModelSettings(name="resnet8", options={"width": 4})
    assert torch.equal(torch.get_rng_state(), before)


def test_a_spec_equals_itself_after_a_file() -> None:
    spec = ModelSpec(name="resnet8", options={"sizes": (1, 2)}, input_shape=(1, 28, 28), classes=10)
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_spec_of_no_pixels_or_classes_is_refused() -> None:
    with pytest.raises(ValidationError, match="input_shape"):
        ModelSettings(name="net").spec((1, 0, 28), 10)
    with pytest.raises(ValidationError, match="classes"):
        ModelSettings(name="net").spec((1, 28, 28), 0)


def test_an_image_too_small_is_refused_before_training() -> None:
    with pytest.raises(ModelError, match="at least 12x12 pixels, not 8x8"):
        build_model(ModelSettings(name="net").spec((1, 8, 8), 10))


def test_a_failing_forward_pass_names_the_network_and_the_images() -> None:
    spec = ModelSpec(name="mine", input_shape=(3, 8, 8), classes=4)
    with pytest.raises(ModelError, match=r"'mine' fails on images of shape \(3, 8, 8\)"):
        probe(nn.Sequential(nn.Flatten(), nn.Linear(7, 4)), spec)


def test_the_probe_leaves_modes_statistics_and_random_state() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), nn.Flatten(), nn.Linear(4, 3))
    model[0].eval()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    probe(model, ModelSpec(name="mine", input_shape=(1, 2, 2), classes=3))
    assert [module.training for module in model.modules()] == [True, False, True, True, True]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_weights_are_a_function_of_the_seed() -> None:
    spec = ModelSettings(name="resnet8", options={"width": 4}).spec((1, 12, 12), 3)

    def stem(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return build_model(spec).stem.weight

    assert torch.equal(stem(1), stem(1))
    assert not torch.equal(stem(1), stem(2))


def test_available_models_lists_own_networks_first_and_torchvisions() -> None:
    names = available_models()
    assert names[: len(OWN)] == OWN
    assert {"wrn_16_2", "mobilenet_v3_small", "vit_b_16"} <= set(names)
    assert len(set(names)) == len(names)


def test_own_networks_come_without_torchvision() -> None:
    code = (
        "import sys; from model_compression.models import ModelSettings, build_model; "
        "build_model(ModelSettings(name='net').spec((1, 28, 28), 10)); "
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
