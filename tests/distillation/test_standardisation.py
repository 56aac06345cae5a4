import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import TypeAdapter, ValidationError
from scipy.stats import zscore

from model_compression.distillation import DistillationMethod
from model_compression.distillation.dist import DistSettings
from model_compression.distillation.dkd import DkdSettings
from model_compression.distillation.kd import KdSettings
from model_compression.distillation.standardisation import standardise
from model_compression.images import Batch

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-30, 30)).filter(
    lambda logits: logits.std(axis=1).min() > 1e-2
)
METHODS = [
    KdSettings(method="kd", temperature=2, standardise=True),
    DkdSettings(method="dkd", temperature=2, standardise=True),
    DistSettings(method="dist", temperature=2, standardise=True),
]
BATCH = Batch(torch.zeros(4, 1, 1, 1), torch.tensor([0, 4, 2, 1]), torch.arange(4), epoch=9)


@given(logits=LOGITS)
def test_standardised_logits_are_z_scores_over_the_classes(logits):
    measured = standardise(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(measured, zscore(logits, axis=1, ddof=1), rtol=1e-4, atol=1e-9)


@given(logits=LOGITS, scale=st.floats(0.1, 10), shift=st.floats(-50, 50))
def test_standardised_logits_are_blind_to_scale_and_shift(logits, scale, shift):
    tensor = torch.from_numpy(logits)
    moved = standardise(scale * tensor + shift)
    torch.testing.assert_close(moved, standardise(tensor), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.method)
def test_a_method_that_standardises_is_blind_to_the_size_of_either_ones_logits(method):
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    loss = method.loss(student, teacher, BATCH)
    for moved in ((3 * student - 7, teacher), (student, 0.2 * teacher + 1)):
        torch.testing.assert_close(method.loss(*moved, BATCH), loss, rtol=1e-5, atol=0)
    plain = method.model_copy(update={"standardise": False})
    assert not torch.isclose(
        plain.loss(3 * student, teacher, BATCH), plain.loss(student, teacher, BATCH), rtol=1e-2
    )


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.method)
def test_a_method_that_standardises_is_satisfied_with_the_teachers_logits_at_any_size(method):
    teacher = torch.randn(4, 5, dtype=torch.float64)
    assert method.loss(5 * teacher + 2, teacher, BATCH).item() == pytest.approx(0, abs=1e-6)


def test_standardised_logits_and_gradients_are_finite_for_extreme_and_constant_rows():
    logits = torch.tensor(
        [[1e4, -1e4, 0.0], [5.0, 5.0, 5.0]], dtype=torch.bfloat16, requires_grad=True
    )
    scores = standardise(logits)
    scores[:, 0].sum().backward()
    torch.testing.assert_close(scores, torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("method", ["dkd", "dist", "mlkd"])
def test_soft_targets_beside_standardised_logits_are_refused(method):
    with pytest.raises(ValidationError, match="leave one of them out"):
        TypeAdapter(DistillationMethod).validate_python(
            {"method": method, "standardise": True, "soft_targets": {}}
        )
