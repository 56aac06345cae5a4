import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from model_compression.images import stratified_split, stratified_subset

CLASS_SIZES = st.lists(st.integers(2, 60), min_size=1, max_size=6)
SEEDS = st.integers(0, 2**64)


def make_labels(sizes: list[int], seed: int) -> np.ndarray:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels)


@given(sizes=CLASS_SIZES, fraction=st.floats(0.01, 0.99), seed=SEEDS)
def test_a_split_is_sorted_disjoint_complete_and_stratified(
    sizes: list[int], fraction: float, seed: int
) -> None:
    labels = make_labels(sizes, seed)
    rest, held_out = stratified_split(labels, fraction, seed)
    assert rest.tolist() == sorted(rest)
    assert held_out.tolist() == sorted(held_out)
    assert sorted([*rest, *held_out]) == list(range(len(labels)))
    for label, size in enumerate(sizes):
        count = np.count_nonzero(labels[held_out] == label)
        assert abs(count - size * fraction) <= 1
        assert 1 <= count <= size - 1


@given(sizes=CLASS_SIZES, seed=SEEDS)
def test_a_larger_fraction_holds_out_what_a_smaller_one_does(sizes: list[int], seed: int) -> None:
    labels = make_labels(sizes, seed)
    small, large = (set(stratified_split(labels, f, seed)[1]) for f in (0.2, 0.6))
    assert small <= large


def test_a_split_depends_on_the_seed_alone() -> None:
    labels = make_labels([50, 50], 0)
    np.random.seed(1)
    first = stratified_split(labels, 0.3, 5)[1]
    np.random.seed(2)
    second = stratified_split(labels, 0.3, 5)[1]
    other = stratified_split(labels, 0.3, 6)[1]
    np.testing.assert_array_equal(first, second)
    assert set(first) != set(other)


def test_every_image_is_held_out_about_as_often() -> None:
    labels = np.zeros(20, dtype=np.int64)
    times = np.zeros(20)
    for seed in range(400):
        times[stratified_split(labels, 0.25, seed)[1]] += 1
    # 100 times each is expected, with a standard deviation below 9.
    assert times.min() > 60
    assert times.max() < 140


def test_a_class_of_one_image_is_refused_by_its_number() -> None:
    with pytest.raises(ValueError, match="Class number 2 has one image only"):
        stratified_split(np.array([0, 0, 1, 1, 2]), 0.5, 0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        stratified_split(np.array([0, 0]), fraction, 0)


@given(sizes=CLASS_SIZES, seed=SEEDS, share=st.floats(0, 1.2))
def test_a_subset_has_its_size_and_every_class(sizes: list[int], seed: int, share: float) -> None:
    labels = make_labels(sizes, seed)
    size = max(len(sizes), int(share * len(labels)))
    chosen = stratified_subset(labels, size, seed)
    assert len(set(chosen)) == len(chosen) == min(size, len(labels))
    assert chosen.tolist() == sorted(chosen)
    assert set(labels[chosen]) == set(labels)


@given(size=st.integers(10, 300), seed=SEEDS)
def test_a_subset_of_even_classes_is_even(size: int, seed: int) -> None:
    labels = np.arange(300) % 10
    counts = np.bincount(labels[stratified_subset(labels, size, seed)], minlength=10)
    assert counts.max() - counts.min() <= 1


@given(sizes=CLASS_SIZES, seed=SEEDS)
def test_a_larger_subset_contains_a_smaller_one(sizes: list[int], seed: int) -> None:
    labels = make_labels(sizes, seed)
    small, large = len(sizes) + 1, 2 * len(sizes)
    assume(large <= len(labels))
    assert set(stratified_subset(labels, small, seed)) <= set(
        stratified_subset(labels, large, seed)
    )


def test_a_limit_below_the_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="2 images cannot hold one of each of 3 classes"):
        stratified_subset(np.array([0, 1, 2]), 2, 0)
