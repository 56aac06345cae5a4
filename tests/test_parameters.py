import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_compression.parameters import Parameters, flatten

NESTED = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3),
    max_leaves=10,
)


class Recipe(Parameters):
    rate: float
    """How fast."""


def test_a_misspelt_key_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="raet"):
        Recipe.model_validate({"rate": 0.1, "raet": 0.2})


def test_a_value_cannot_be_changed_later() -> None:
    recipe = Recipe(rate=0.1)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.rate = 0.2  # type: ignore[misc]


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
def test_numbers_must_be_finite(rate: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Recipe(rate=rate)


def test_flatten_dots_the_path_to_every_leaf_and_keeps_lists() -> None:
    values = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None}
    assert flatten(values) == {"a.b": 1, "a.c.d": [1, 2], "e": None}


@given(values=st.dictionaries(st.text("abc", min_size=1, max_size=3), NESTED, max_size=3))
def test_every_flat_key_leads_back_to_its_value(values: dict[str, object]) -> None:
    for path, leaf in flatten(values).items():
        found: object = values
        for key in path.split("."):
            assert isinstance(found, dict)
            found = found[key]
        assert found == leaf
        assert not isinstance(leaf, dict)
