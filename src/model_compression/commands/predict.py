"""Classifies image files with a deployable alone: bytes in, class names out.

Knows files of images, the deployable's contract and the recommendation's; nothing of how it was
trained.
"""

import json
import sys
from pathlib import Path

import click
import numpy as np
from PIL import Image

from model_compression.deployment import OnnxModel, OnnxModelError, OnnxRuntimeClassifier, read_onnx
from model_compression.evaluation import softmax
from model_compression.images import PixelFormat, fit_image
from model_compression.reporting.recommendation import RECOMMENDATION_FILE, Recommendation


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    "path",
    type=click.Path(path_type=Path),
    help="The deployable: bytes in, logits out. Without it, the one that the report recommends.",
)
@click.option(
    "--data",
    default="data",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The folder of results whose recommended file is taken; data/smoke after --env=smoke.",
)
@click.option(
    "--top", default=1, show_default=True, type=click.IntRange(min=1), help="Classes an image."
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line instead of words.")
def predict(
    images: tuple[Path, ...], path: Path | None, data: Path, top: int, as_json: bool
) -> None:
    """Says what IMAGES show, each with the probability that the file gives it.

    A picture is brought upright and to the size and channels that the file takes, as a folder of
    training images is; scaling and normalisation are inside the file. Pictures that can't be read
    are named at the end, and the exit status is then 1.
    """
    try:
        model = _recommended(data) if path is None else read_onnx(path)
        classifier = OnnxRuntimeClassifier(model)
    except (FileNotFoundError, OnnxModelError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    channels, height, width = classifier.model.input_shape
    if height != width or channels not in (1, 3):
        raise click.ClickException(
            f"The {classifier.model.stage} file takes images of {channels} channels and {height} x "
            f"{width} pixels; pictures are brought to grey or RGB squares alone. Give it arrays "
            "instead: docs/how-to/use-the-file.md"
        )
    pixel_format = PixelFormat(image_size=height, channels=channels)
    unread = []
    for image in images:
        try:
            with Image.open(image) as picture:
                pixels = fit_image(picture, pixel_format)
        except Exception as error:  # decoders of pictures raise nearly anything
            unread.append(f"{click.format_filename(image)}: {error}")
            continue
        (probabilities,) = softmax(classifier.logits(pixels[None]))
        best = [
            (classifier.model.classes[place], float(probabilities[place]))
            for place in np.argsort(-probabilities, kind="stable")[:top]
        ]
        click.echo(_as_json(image, best) if as_json else _in_words(image, best))
    for complaint in unread:
        click.echo(f"not read: {complaint}", err=True)
    if unread:
        sys.exit(1)


def _recommended(data: Path) -> OnnxModel:
    """The file that the recommendation names, if it is still the one that was judged.

    Raises:
        FileNotFoundError: If there is no recommendation, or not the file.
        OnnxModelError: If it is no deployable.
        ValueError: If the recommendation can't be read, or is of another file.
    """
    source = data / RECOMMENDATION_FILE
    how = "kedro run --pipeline=compress, or name a file with --model"
    try:
        chosen = Recommendation.from_json(json.loads(source.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{source} isn't there, which says what file is recommended: {how}; --data names "
            "another folder of results."
        ) from error
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{source} is no recommendation: {how}. ({error})") from error
    model = read_onnx(data / chosen.path)
    if model.fingerprint != chosen.fingerprint:
        raise ValueError(
            f"{data / chosen.path} is not the file that {source} recommends: its stage has run "
            f"again since. Judge it first: {how}."
        )
    return model


def _as_json(image: Path, best: list[tuple[str, float]]) -> str:
    found = [{"class": name, "probability": round(share, 6)} for name, share in best]
    return json.dumps({"image": str(image), "predictions": found})


def _in_words(image: Path, best: list[tuple[str, float]]) -> str:
    return f"{click.format_filename(image)}: " + ", ".join(
        f"{name} ({share:.1%})" for name, share in best
    )
