"""On how many images generalisation is measured."""

from pydantic import NonNegativeInt, PositiveInt

from model_compression.parameters import Parameters


class GeneralisationParameters(Parameters):
    """The images that are corrupted, and those that a network was trained on."""

    corrupted_images: PositiveInt | None = 1000
    """Test images that are corrupted in 75 ways, with the classes in proportion; null: all."""
    training_images: PositiveInt | None = 2000
    """Training images, as they are, that the file is asked about for the train-test gap, with the
    classes in proportion; null: all."""
    seed: NonNegativeInt = 0
    """Chooses the images and draws the corruptions."""
