"""Parts of an image set by class: which classes are meant, and their images under new numbers.

Knows labels and names; why classes are told apart is others' business.
"""

import difflib
from collections.abc import Sequence

import numpy as np

from model_compression.fingerprint import fingerprint
from model_compression.images.image_set import ImageSet, ImageSetError


def find_classes(classes: Sequence[str], chosen: int | Sequence[str | int]) -> tuple[int, ...]:
    """The numbers of some classes.

    Args:
        classes: All names.
        chosen: How many, counted from the last one; or which, by their names or numbers.

    Returns:
        Their numbers; of a count, ascending, otherwise in the order of ``chosen``.

    Raises:
        ValueError: If a class is not there or is named twice.
    """
    if isinstance(chosen, int):
        if chosen > len(classes):
            raise ValueError(f"{chosen} classes can't be taken of {len(classes)}: take fewer.")
        return tuple(range(len(classes) - chosen, len(classes)))
    numbers = [_number(classes, one) for one in chosen]
    if len(set(numbers)) != len(numbers):
        raise ValueError(
            f"Each class can be chosen once; got {', '.join(classes[number] for number in numbers)}"
            "."
        )
    return tuple(numbers)


def _number(classes: Sequence[str], one: str | int) -> int:
    if isinstance(one, str):
        if one in classes:
            return classes.index(one)
        near = difflib.get_close_matches(one, classes, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"There is no class {one!r}{meant}; there are {', '.join(classes)}.")
    if not 0 <= one < len(classes):
        raise ValueError(f"There is no class number {one}; there are 0 to {len(classes) - 1}.")
    return one


def with_classes(
    image_set: ImageSet, order: Sequence[int], chosen: Sequence[int] | None = None
) -> ImageSet:
    """The images of some classes, whose numbers are their places in ``order``.

    Args:
        image_set: The images.
        order: Numbers of classes; those of the result, in its order.
        chosen: Those of them whose images are wanted; all of ``order`` unless given.

    Raises:
        ImageSetError: If there is no image of these classes.
    """
    wanted = order if chosen is None else chosen
    positions = np.flatnonzero(np.isin(image_set.labels, wanted))
    if not len(positions):
        missing = ", ".join(image_set.classes[number] for number in wanted)
        raise ImageSetError(f"There is no image of the classes {missing}.")
    numbers = np.full(len(image_set.classes), -1, dtype=np.int64)
    numbers[list(order)] = np.arange(len(order))
    part = image_set.subset(positions)
    names = tuple(image_set.classes[number] for number in order)
    return ImageSet(
        images=part.images,
        labels=numbers[part.labels],
        classes=names,
        fingerprint=fingerprint(part.fingerprint, names),
    )
