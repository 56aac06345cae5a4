import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model_compression.distillation.method import Need, Observed
from model_compression.distillation.ofd import OfdSettings, ofd_loss
from model_compression.distillation.transfer import Probe
from model_compression.images import Batch

MAPS = arrays(np.float64, (2, 3, 2, 2), elements=st.floats(-3, 3))
MARGINS = arrays(np.float64, (3,), elements=st.floats(-2, 0))


@given(student=MAPS, teacher=MAPS, margin=MARGINS)
def test_ofd_is_the_formula_written_in_numpy(student, teacher, margin):
    total = 0.0
    for index, s in np.ndenumerate(student):
        t = max(teacher[index], margin[index[1]])
        total += 0.0 if s <= t <= 0 else (t - s) ** 2
    tensors = (torch.from_numpy(array) for array in (student, teacher, margin))
    assert ofd_loss(*tensors).item() == pytest.approx(total / student.size, rel=1e-9, abs=1e-12)


@given(teacher=MAPS, margin=MARGINS, more=st.floats(0, 100))
def test_where_the_teacher_is_silent_any_more_negative_answer_is_right(teacher, margin, more):
    floor = margin[None, :, None, None]
    student = np.where(teacher > 0, teacher, np.maximum(teacher, floor) - more)
    tensors = (torch.from_numpy(array) for array in (student, teacher, margin))
    assert ofd_loss(*tensors).item() == 0


def test_ofd_is_finite_in_bfloat16_at_extremes():
    student = torch.full((2, 3, 2, 2), 1e4, dtype=torch.bfloat16, requires_grad=True)
    loss = ofd_loss(student, -student.detach(), torch.zeros(3, dtype=torch.bfloat16))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_ofd_looks_before_the_activation_function():
    assert OfdSettings.needs is Need.PREACTIVATIONS


def seen(maps: torch.Tensor) -> Observed:
    return Observed(torch.zeros(len(maps), 2), (maps,))


def batch(epoch: int) -> Batch:
    return Batch(torch.zeros(4, 1, 4, 4), torch.zeros(4).long(), torch.arange(4), epoch)


def margin(transfer: torch.nn.Module) -> np.ndarray:
    (layer,) = transfer.layers
    return (layer.negatives / layer.count.clamp(min=1)).numpy()


def test_margins_are_the_mean_of_the_negative_responses_of_the_first_epoch():
    first, second, later = (torch.randn(4, 3, 4, 4) for _ in range(3))
    for maps in (first, second):
        maps[:, 2].abs_()  # a channel that is never negative
    student = seen(torch.randn(4, 2, 4, 4))
    settings = OfdSettings(method="ofd")
    transfer = settings.transfer(Probe(student, seen(first), torch.zeros(4))).train()
    for epoch, maps in ((0, first), (0, second), (1, later)):
        transfer(student, seen(maps), batch(epoch))
    transfer.eval()(student, seen(later), batch(0))
    both = torch.cat([first, second]).numpy()
    expected = [both[:, c][both[:, c] < 0].mean() for c in (0, 1)] + [0.0]
    np.testing.assert_allclose(margin(transfer), expected, rtol=1e-5)


def test_measured_margins_are_in_the_loss():
    student, teacher = seen(torch.randn(4, 2, 4, 4)), seen(torch.randn(4, 3, 4, 4))
    settings = OfdSettings(method="ofd", weight=2)
    transfer = settings.transfer(Probe(student, teacher, torch.zeros(4))).train()
    loss = transfer(student, teacher, batch(0))
    connected = transfer.layers[0].connector(student.features[0])
    margins = torch.from_numpy(margin(transfer))
    assert (margins < 0).all()
    torch.testing.assert_close(loss, 2 * ofd_loss(connected, teacher.features[0], margins))
