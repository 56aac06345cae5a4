"""Classifies image files with a deployable alone: bytes in, class names out.

Knows files of images and the deployable's contract; nothing of how it was trained.
"""

import json
import sys
from pathlib import Path

import click
import numpy as np
from PIL import Image

from model_compression.deployment import OnnxModelError, OnnxRuntimeClassifier, read_onnx
from model_compression.evaluation import softmax
from model_compression.images import PixelFormat, fit_image

SHIPPED = Path("data/06_models/quantized/model.onnx")


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    "path",
    default=SHIPPED,
    show_default=True,
    type=click.Path(path_type=Path),
    help="The deployable: bytes in, logits out.",
)
@click.option(
    "--top", default=1, show_default=True, type=click.IntRange(min=1), help="Classes an image."
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line instead of words.")
def predict(images: tuple[Path, ...], path: Path, top: int, as_json: bool) -> None:
    """Says what IMAGES show, each with the probability that the file gives it.

    A picture is brought upright and to the size and channels that the file takes, as a folder of
    training images is; scaling and normalisation are inside the file. Pictures that can't be read
    are named at the end, and the exit status is then 1.
    """
    try:
        classifier = OnnxRuntimeClassifier(read_onnx(path))
    except (FileNotFoundError, OnnxModelError) as error:
        raise click.ClickException(str(error)) from error
    channels, height, width = classifier.model.input_shape
    if height != width or channels not in (1, 3):
        raise click.ClickException(
            f"{path} takes images of {channels} channels and {height} x {width} pixels; pictures "
            "are brought to grey or RGB squares alone. Give it arrays instead: "
            "docs/how-to/use-the-file.md"
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


def _as_json(image: Path, best: list[tuple[str, float]]) -> str:
    found = [{"class": name, "probability": round(share, 6)} for name, share in best]
    return json.dumps({"image": str(image), "predictions": found})


def _in_words(image: Path, best: list[tuple[str, float]]) -> str:
    return f"{click.format_filename(image)}: " + ", ".join(
        f"{name} ({share:.1%})" for name, share in best
    )
