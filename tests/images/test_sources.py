from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from model_compression.images import (
    DataParameters,
    FolderSource,
    IdxSource,
    Splits,
    TorchvisionSource,
    load_images,
)


def load(folder: Path, **parameters: Any) -> Splits:
    values = {"source": {"kind": "idx", "folder": folder.name}, "validation_fraction": 0.2}
    return load_images(DataParameters.model_validate(values | parameters), folder.parent)


def test_training_images_are_split_and_test_images_stay_whole(idx_folder: Path) -> None:
    train, validation, test = load(idx_folder)
    assert np.bincount(train.labels).tolist() == [8] * 4
    assert np.bincount(validation.labels).tolist() == [2] * 4
    assert np.bincount(test.labels).tolist() == [3] * 4


def test_no_image_is_both_trained_on_and_validated_on(idx_folder: Path) -> None:
    train, validation, _ = load(idx_folder)
    images = {image.tobytes() for image in train.images[:]}
    held_out = {image.tobytes() for image in validation.images[:]}
    assert len(images) == 32
    assert len(held_out) == 8
    assert not images & held_out


def test_limits_take_some_of_every_class(idx_folder: Path) -> None:
    train, validation, test = load(idx_folder, train_limit=20, test_limit=6)
    assert (len(train), len(validation), len(test)) == (16, 4, 6)
    assert set(train.labels) == set(validation.labels) == set(test.labels) == {0, 1, 2, 3}


def test_a_limit_above_the_number_of_images_changes_nothing(idx_folder: Path) -> None:
    limited = load(idx_folder, train_limit=40, test_limit=1000)
    for part, whole in zip(limited, load(idx_folder), strict=True):
        assert part.fingerprint == whole.fingerprint


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"seed": 1}, ["train", "validation"]),
        ({"validation_fraction": 0.3}, ["train", "validation"]),
        ({"train_limit": 30}, ["train", "validation"]),
        ({"test_limit": 6}, ["test"]),
        ({"image_size": 8}, ["train", "validation", "test"]),
        ({"channels": 3}, ["train", "validation", "test"]),
        ({}, []),
    ],
)
def test_a_parameter_changes_the_fingerprints_of_the_parts_that_it_changes(
    change: dict[str, Any], parts: list[str], idx_folder: Path
) -> None:
    before, after = load(idx_folder), load(idx_folder, **change)
    changed = [
        name
        for name in Splits._fields
        if getattr(before, name).fingerprint != getattr(after, name).fingerprint
    ]
    assert changed == parts


def test_a_folder_is_split_into_three(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.new("L", (6, 6), number).save(tmp_path / name / f"{number}.png")
    source = {"kind": "folder", "path": str(tmp_path), "test_fraction": 0.1}
    train, validation, test = load(tmp_path, source=source, image_size=4)
    assert (len(train), len(validation), len(test)) == (28, 8, 4)
    shades = [
        sorted(zip(p.labels, p.images[:][:, 0, 0, 0], strict=True))
        for p in (train, validation, test)
    ]
    assert len({shade for part in shades for shade in part}) == 40


def test_torchvision_is_asked_for_its_dataset(tmp_path: Path) -> None:
    source = {"kind": "torchvision", "name": "SVHN", "root": "here", "download": False}
    with pytest.raises(ValueError, match=f"SVHN was not found in {tmp_path}/here"):
        load_images(DataParameters.model_validate({"source": source}), tmp_path)


def test_an_absolute_path_is_not_put_below_the_project(idx_folder: Path, tmp_path: Path) -> None:
    parameters = DataParameters(source=IdxSource(folder=str(idx_folder)))
    assert len(load_images(parameters, tmp_path / "elsewhere").test) == 12


def test_the_defaults_are_the_embedded_images_with_5000_for_validation() -> None:
    raw_folder = Path(__file__).parents[2] / "data" / "01_raw"
    train, validation, test = load_images(DataParameters(), raw_folder)
    assert (len(train), len(validation), len(test)) == (55_000, 5_000, 10_000)
    assert np.bincount(validation.labels).tolist() == [500] * 10


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ({"kind": "idx"}, "fashion-mnist"),
        ({"kind": "torchvision", "name": "SVHN"}, "SVHN"),
        ({"kind": "folder", "path": "/somewhere/pictures"}, "pictures"),
    ],
)
def test_images_are_called_as_their_source_is(source, name) -> None:
    assert DataParameters(source=source, image_size=32).name == name


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ({"kind": "idx"}, IdxSource),
        ({"kind": "torchvision", "name": "SVHN"}, TorchvisionSource),
        ({"kind": "folder", "path": "pictures"}, FolderSource),
    ],
)
def test_the_kind_chooses_the_settings(source: dict[str, Any], kind: type) -> None:
    parameters = DataParameters.model_validate({"source": source, "image_size": 32})
    assert type(parameters.source) is kind


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": {"kind": "zip"}}, "'idx', 'torchvision', 'folder'"),
        ({"source": {"kind": "idx", "path": "x"}}, r"source\.idx\.path"),
        ({"source": {"kind": "folder", "path": "x"}}, "image_size: 64"),
        ({"source": {"kind": "folder", "path": "x", "test_fraction": 1}}, "less than 1"),
        ({"channels": 2}, "1 or 3"),
        ({"image_size": 0}, "greater than or equal to 1"),
        ({"validation_fraction": 0.6}, "less than or equal to 0.5"),
        ({"validation_fraction": 0}, "greater than 0"),
        ({"train_limit": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataParameters.model_validate(values)


def test_a_limit_that_leaves_a_class_with_one_image_says_what_to_do(idx_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"one image only.*raise a limit"):
        load(idx_folder, train_limit=4)
