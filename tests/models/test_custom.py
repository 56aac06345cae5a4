import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from model_compression.models import ModelError, ModelSettings, build_model

MODULE = """
from torch import nn

class Linear(nn.Module):
    def __init__(self, channels, image_size, classes, hidden, bias=True):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * image_size**2, hidden),
            nn.Linear(hidden, classes, bias=bias),
        )

    def forward(self, x):
        return self.layers(x)

class Pooled(nn.Module):
    def __init__(self, classes, **options):
        super().__init__()
        self.options = options
        self.layer = nn.LazyLinear(classes)

    def forward(self, x):
        return self.layer(x.mean((2, 3)))

class TwoHeads(Pooled):
    def forward(self, x):
        logits = super().forward(x)
        return logits, logits

class TenClasses(Pooled):
    def __init__(self):
        super().__init__(10)

def factory(classes):
    return Pooled(classes)
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "somebodys").mkdir()
    (tmp_path / "somebodys" / "nets.py").write_text(MODULE)
    (tmp_path / "somebodys" / "broken.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("somebodys")]:
        del sys.modules[name]


def refusal(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        ModelSettings(**values)
    return str(caught.value)


@pytest.mark.parametrize("path", ["somebodys.nets.Linear", "somebodys.nets:Linear"])
def test_a_class_gets_what_it_names_and_its_options(path: str) -> None:
    settings = ModelSettings(name=path, options={"hidden": 5, "bias": False})
    model = build_model(settings.spec((3, 8, 8), 4))
    assert model.layers[1].weight.shape == (5, 3 * 8 * 8)
    assert model.layers[2].weight.shape == (4, 5)
    assert model.layers[2].bias is None


def test_a_class_that_doesnt_need_the_images_size_gets_any_images() -> None:
    settings = ModelSettings(name="somebodys.nets.Pooled", options={"anything": 1})
    model = build_model(settings.spec((3, 8, 12), 4))
    assert model.options == {"anything": 1}
    assert model(torch.ones(2, 3, 8, 12)).shape == (2, 4)


def test_a_class_that_needs_the_images_size_refuses_oblong_ones() -> None:
    spec = ModelSettings(name="somebodys.nets.Linear", options={"hidden": 5}).spec((3, 8, 12), 4)
    with pytest.raises(ModelError, match="square images, and these are 8x12"):
        build_model(spec)


def test_unknown_and_missing_options_are_named() -> None:
    unknown = refusal(name="somebodys.nets.Linear", options={"hiden": 5})
    assert "takes no option hiden; the options are: bias, hidden" in unknown
    assert "without the option hidden" in refusal(name="somebodys.nets.Linear")


def test_what_the_data_say_is_no_option() -> None:
    for name in ("somebodys.nets.Linear", "somebodys.nets.Pooled"):
        assert "takes no option classes" in refusal(name=name, options={"classes": 3, "hidden": 1})


def test_a_network_with_several_outputs_is_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \(2, 4\) for 2 images, but it gives tuple"):
        build_model(ModelSettings(name="somebodys.nets.TwoHeads").spec((1, 8, 8), 4))


def test_a_network_of_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ModelError, match=r"but it gives \(2, 10\)"):
        build_model(ModelSettings(name="somebodys.nets.TenClasses").spec((1, 8, 8), 4))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("somebodys.nets.Nothing", "the module 'somebodys.nets' has no class 'Nothing'"),
        ("somebodys.nets.factory", "is no torch.nn.Module class but <function"),
        ("somebodys.nets.nn", "is no torch.nn.Module class but <module"),
        ("somebodys.no_nets.Net", "can't be imported .* put its folder on PYTHONPATH"),
        ("somebodys.broken.Net", "No module named 'no_such_package'"),
        ("somebodys..nets:Net", "is no path of a class"),
        (".Net", "is no path of a class"),
        ("somebodys/nets.py:Net", "is no path of a class"),
    ],
)
def test_a_path_that_leads_to_no_network_says_why(path: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSettings(name=path)
