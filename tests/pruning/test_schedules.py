import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from model_compression.pruning.schedules import (
    Cubic,
    Iterative,
    OneShot,
    Schedule,
    complete_at,
    share_cut,
)

ITERATIVE = st.builds(
    Iterative, name=st.just("iterative"), steps=st.integers(1, 12), end=st.floats(0.05, 1)
)
CUBIC = st.floats(0, 0.9).flatmap(
    lambda begin: st.builds(
        Cubic, name=st.just("cubic"), begin=st.just(begin), end=st.floats(begin + 0.05, 1)
    )
)
SCHEDULES = st.one_of(st.just(OneShot()), ITERATIVE, CUBIC)
PROGRESS = st.floats(0, 1)


@given(schedule=SCHEDULES, first=PROGRESS, second=PROGRESS)
def test_nothing_that_was_cut_comes_back(schedule, first, second):
    earlier, later = sorted((first, second))
    assert 0 <= share_cut(schedule, earlier) <= share_cut(schedule, later) <= 1


@given(schedule=SCHEDULES, progress=PROGRESS)
def test_all_is_cut_from_the_end_that_the_schedule_names_on(schedule, progress):
    assert share_cut(schedule, complete_at(schedule)) == 1
    assert share_cut(schedule, 1.0) == 1
    if progress >= complete_at(schedule):
        assert share_cut(schedule, progress) == 1


@given(schedule=ITERATIVE, step=st.integers(0, 1000))
def test_an_iterative_schedule_makes_as_many_equal_cuts_as_it_says(schedule, step):
    cuts = share_cut(schedule, step / 1000) * schedule.steps
    assert cuts == pytest.approx(round(cuts))
    assert cuts >= 1


def test_an_iterative_schedule_cuts_where_its_even_steps_are():
    schedule = Iterative(name="iterative", steps=3, end=0.5)
    shares = [share_cut(schedule, progress) for progress in (0, 0.24, 0.25, 0.49, 0.5, 1)]
    assert shares == [1 / 3, 1 / 3, 2 / 3, 2 / 3, 1, 1]


def test_a_cubic_schedule_is_zhu_and_guptas():
    schedule = Cubic(name="cubic", begin=0.2, end=0.6)
    shares = [share_cut(schedule, progress) for progress in (0, 0.2, 0.3, 0.4, 0.5, 0.6)]
    # 1 - (1 - p)^3 at p = 0, 0, 1/4, 1/2, 3/4, 1.
    assert shares == pytest.approx([0, 0, 37 / 64, 7 / 8, 63 / 64, 1])


def test_one_shot_cuts_all_before_the_first_step():
    assert share_cut(OneShot(), 0.0) == 1
    assert complete_at(OneShot()) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "cubic", "begin": 0.5, "end": 0.5},
        {"name": "cubic", "begin": 0.0, "end": 1.1},
        {"name": "iterative", "steps": 0},
        {"name": "iterative", "end": 0.0},
        {"name": "linear"},
    ],
)
def test_an_impossible_schedule_is_refused(wrong):
    with pytest.raises(ValidationError, match=r"end|steps|linear"):
        TypeAdapter(Schedule).validate_python(wrong)
