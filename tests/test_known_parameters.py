import pytest
from kedro.validation.exceptions import ParameterValidationError

from model_compression.known_parameters import refuse_unknown


def test_a_typo_in_a_groups_name_is_refused_with_the_name_that_was_meant():
    with pytest.raises(ParameterValidationError, match=r"'prunning' \(did you mean 'pruning'\?\)"):
        refuse_unknown({"teacher": {}, "prunning": {}}, {"teacher", "pruning"})


def test_a_name_that_is_like_no_other_is_refused_with_all_known_ones():
    with pytest.raises(ParameterValidationError, match="'xyz': expected pruning, teacher"):
        refuse_unknown(["xyz"], {"teacher", "pruning"})


def test_known_groups_pass():
    refuse_unknown(["teacher"], {"teacher", "pruning"})
