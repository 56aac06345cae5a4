"""Stratified splits and subsets: which image belongs to which part.

Knows labels only, never pixels.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from model_compression.images.randomness import random_bits

Indices = NDArray[np.int64]


def stratified_split(labels: Indices, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Holds out the same fraction of every class.

    Of a class of n images, round(n · fraction) are held out, but at least one and at most n - 1.
    Which ones depends on ``seed`` and the images' positions alone, and a larger fraction holds out
    everything that a smaller one does.

    Args:
        labels: Class numbers, shape (N,).
        fraction: How much to hold out, between 0 and 1.
        seed: Any integer.

    Returns:
        The positions of the rest and of the held-out images, both ascending.

    Raises:
        ValueError: If ``fraction`` is not between 0 and 1, or a class has fewer than two images.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"The fraction to hold out must be between 0 and 1; got {fraction}.")
    held_out = np.zeros(len(labels), dtype=bool)
    for label, members in _shuffled_classes(labels, seed):
        if len(members) < 2:
            raise ValueError(
                f"Class number {label} has one image only, so it cannot be on both sides of a "
                "split. Add images to this class, remove it, or raise a limit that leaves too few."
            )
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        held_out[members[:count]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def stratified_subset(labels: Indices, size: int, seed: int) -> Indices:
    """Picks ``size`` images with the classes in proportion, at least one image of each.

    Images are taken in the order of their rank within their class divided by the size of the class,
    so a larger subset contains every smaller one.

    Args:
        labels: Class numbers, shape (N,).
        size: How many; all of them if N or more.
        seed: Any integer.

    Returns:
        Positions, ascending.

    Raises:
        ValueError: If ``size`` is smaller than the number of classes.
    """
    classes = len(np.unique(labels))
    if size < classes:
        raise ValueError(
            f"A limit of {size} images cannot hold one of each of {classes} classes; "
            f"set it to {classes} or more."
        )
    quantiles = np.zeros(len(labels))
    for _, members in _shuffled_classes(labels, seed):
        quantiles[members] = np.arange(len(members)) / len(members)
    return np.sort(np.argsort(quantiles, kind="stable")[:size])


def _shuffled_classes(labels: Indices, seed: int) -> list[tuple[int, Indices]]:
    order = random_bits(seed, torch.arange(len(labels))).numpy()
    classes = np.unique(labels)
    positions = [np.flatnonzero(labels == label) for label in classes]
    return [
        (int(label), members[np.argsort(order[members])])
        for label, members in zip(classes, positions, strict=True)
    ]
