import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from model_compression.evaluation import difference_interval, wilson_interval

counts = st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_scipys(count: tuple[int, int], confidence: float):
    successes, trials = count
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, trials, confidence) == pytest.approx(
        tuple(expected), abs=1e-9
    )


@given(counts)
def test_it_holds_the_share_stays_a_fraction_and_has_a_width(count: tuple[int, int]):
    successes, trials = count
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert low < high


def test_more_images_make_it_narrower():
    widths = [high - low for low, high in (wilson_interval(9 * n, 10 * n) for n in (1, 10, 1000))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes: int, trials: int):
    with pytest.raises(ValueError, match=f"{successes} of {trials}"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_in_percent_is_refused(confidence: float):
    with pytest.raises(ValueError, match=r"inside \(0, 1\)"):
        wilson_interval(5, 10, confidence)


def test_the_interval_of_a_difference_is_newcombes():
    # Newcombe (1998), table II, method 10, examples (a) and (c).
    assert difference_interval((56, 48), (70, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference_interval((6, 2), (7, 7)) == pytest.approx((0.0582, 0.8062), abs=5e-5)


@given(counts, counts)
def test_the_interval_of_a_difference_turns_with_it(first: tuple[int, int], second):
    low, high = difference_interval((first[0], second[0]), (first[1], second[1]))
    assert low <= first[0] / first[1] - second[0] / second[1] <= high
    turned = difference_interval((second[0], first[0]), (second[1], first[1]))
    assert turned == pytest.approx((-high, -low), abs=1e-12)
