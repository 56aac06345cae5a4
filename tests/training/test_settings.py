import pytest
from pydantic import ValidationError

from model_compression.fingerprint import fingerprint
from model_compression.training import TrainingSettings

SGD = {"name": "sgd", "learning_rate": 0.1}


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epoch": 3}, "epoch"),
        ({"optimizer": {"name": "adam", "learning_rate": 0.1}}, "optimizer"),
        ({"optimizer": SGD | {"learning_rate": -1}}, "learning_rate"),
        ({"optimizer": SGD | {"beta1": 0.9}}, "beta1"),
        ({"schedule": {"name": "one_cycle", "warmup_epochs": 5}}, "warmup_epochs"),
        ({"precision": "float16"}, "precision"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"optimizer": SGD | {"learning_rate": float("nan")}}, "learning_rate"),
    ],
)
def test_an_impossible_setting_is_refused_by_its_key(changed, key):
    with pytest.raises(ValidationError, match=key):
        TrainingSettings.model_validate({"epochs": 5, "optimizer": SGD} | changed)


def test_settings_that_are_possible_are_taken():
    settings = TrainingSettings.model_validate(
        {"epochs": 5, "optimizer": SGD, "augmentation": None}
    )
    assert settings.epochs == 5
    assert settings.augmentation is None


def test_how_a_step_is_computed_is_not_part_of_what_is_trained():
    plain = TrainingSettings.model_validate({"epochs": 5, "optimizer": SGD})
    ways = {"channels_last": False, "compile": True, "threads": 3}
    fixed = plain.model_copy(update=ways)
    assert fixed.choices == ("auto", False, True, 3)
    assert fingerprint({"training": plain}) == fingerprint({"training": fixed})
    assert fingerprint(plain) != fingerprint(plain.model_copy(update={"precision": "float32"}))
    # Everywhere else they are there, so that nothing that is fixed is lost on the way.
    assert TrainingSettings.model_validate(fixed.model_dump()) == fixed
