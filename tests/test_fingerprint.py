import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.fingerprint import fingerprint
from model_compression.parameters import Parameters

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


class Recipe(Parameters):
    epochs: int
    rate: float = 0.1


def test_it_is_the_hash_of_the_canonical_json() -> None:
    expected = hashlib.sha256(b'[{"a":[1,null],"b":"x"},true]').hexdigest()[:32]
    assert fingerprint({"b": "x", "a": [1, None]}, True) == expected


@given(mapping=st.dictionaries(st.text(max_size=5), st.integers(), min_size=2, max_size=4))
def test_the_order_of_keys_plays_no_role(mapping: dict[str, object]) -> None:
    assert fingerprint(mapping) == fingerprint(dict(reversed(mapping.items())))


@given(first=JSON, second=JSON)
def test_the_order_of_parts_does(first: object, second: object) -> None:
    swapped_is_same = fingerprint([first, second]) == fingerprint([second, first])
    assert (fingerprint(first, second) == fingerprint(second, first)) == swapped_is_same


def test_parts_do_not_run_into_each_other() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc") != fingerprint("abc")


def test_a_model_counts_by_its_values_however_deep_it_lies() -> None:
    assert fingerprint([Recipe(epochs=3)]) == fingerprint([{"epochs": 3, "rate": 0.1}])
    assert fingerprint(Recipe(epochs=3)) != fingerprint(Recipe(epochs=4))


def test_what_is_no_json_is_refused_by_its_type() -> None:
    with pytest.raises(TypeError, match="set"):
        fingerprint({"values": {1, 2}})
