"""What holds for every method that learns from maps."""

import pickle
from itertools import product

import pytest
import torch
from torch import Tensor

from model_compression.distillation.at import AtSettings
from model_compression.distillation.fitnets import FitNetsSettings
from model_compression.distillation.method import Observed
from model_compression.distillation.nst import NstSettings
from model_compression.distillation.ofd import OfdSettings
from model_compression.distillation.reviewkd import ReviewKdSettings
from model_compression.distillation.sp import SpSettings
from model_compression.distillation.transfer import FeatureMethod, Probe, Transfer
from model_compression.distillation.vid import VidSettings
from model_compression.images import Batch

WITHOUT_WEIGHTS = [AtSettings(method="at"), SpSettings(method="sp"), NstSettings(method="nst")]
WITH_WEIGHTS = [
    FitNetsSettings(method="fitnets"),
    VidSettings(method="vid"),
    OfdSettings(method="ofd"),
    ReviewKdSettings(method="reviewkd", mid_channels=4),
]
METHODS = [*WITHOUT_WEIGHTS, *WITH_WEIGHTS]

STUDENT_SHAPES = [(3, 8, 8), (4, 7, 5), (6, 3, 3), (9, 1, 1)]
TEACHER_SHAPES = [(5, 6, 9), (4, 7, 5), (7, 4, 2), (8, 2, 2)]


def name(method: FeatureMethod) -> str:
    return method.method


def observed(shapes: list[tuple[int, int, int]], count: int, seed: int = 0) -> Observed:
    generator = torch.Generator().manual_seed(seed)
    maps = tuple(torch.randn(count, *shape, generator=generator) for shape in shapes)
    return Observed(torch.zeros(count, 3), maps)


def batch(count: int, epoch: int = 0) -> Batch:
    indices = torch.arange(count)
    return Batch(torch.zeros(count, 1, 8, 8), indices % 3, indices, epoch)


def built(
    method: FeatureMethod,
    student: list[tuple[int, int, int]] = STUDENT_SHAPES,
    teacher: list[tuple[int, int, int]] = TEACHER_SHAPES,
) -> Transfer:
    torch.manual_seed(0)
    labels = torch.arange(3)
    return method.transfer(Probe(observed(student, 2), observed(teacher, 2), labels)).train()


def of(maps: Observed, change) -> Observed:
    return maps._replace(features=tuple(change(map_) for map_ in maps.features))


def leaf(map_: Tensor) -> Tensor:
    return map_.detach().clone().requires_grad_()


@pytest.mark.parametrize("method", METHODS, ids=name)
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_any_number_of_layers_of_any_channels_and_sizes_can_be_compared(method, layers):
    # The last ones, so that a single layer is one of 1x1 maps.
    transfer = built(method, STUDENT_SHAPES[-layers:], TEACHER_SHAPES[-layers:])
    loss = transfer(
        observed(STUDENT_SHAPES[-layers:], 5, 1), observed(TEACHER_SHAPES[-layers:], 5, 2), batch(5)
    )
    assert loss.shape == ()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_gradient_goes_into_the_student_and_not_the_teacher(method):
    student = of(observed(STUDENT_SHAPES, 5, 1), leaf)
    teacher = of(observed(TEACHER_SHAPES, 5, 2), leaf)
    built(method)(student, teacher, batch(5)).backward()
    assert any(map_.grad is not None and map_.grad.abs().sum() > 0 for map_ in student.features)
    assert all(map_.grad is None for map_ in teacher.features)


@pytest.mark.parametrize("method", WITH_WEIGHTS, ids=name)
def test_every_weight_of_a_projection_gets_a_gradient(method):
    transfer = built(method)
    transfer(observed(STUDENT_SHAPES, 5, 1), observed(TEACHER_SHAPES, 5, 2), batch(5)).backward()
    assert list(transfer.parameters())
    for path, parameter in transfer.named_parameters():
        assert parameter.grad is not None, path
        assert torch.isfinite(parameter.grad).all(), path
        assert parameter.grad.abs().sum() > 0, path


@pytest.mark.parametrize("method", WITHOUT_WEIGHTS, ids=name)
def test_a_method_without_projections_has_nothing_to_store(method):
    assert built(method).state_dict() == {}


@pytest.mark.parametrize("method", WITH_WEIGHTS, ids=name)
def test_what_was_learned_survives_a_resume(method):
    student, teacher = observed(STUDENT_SHAPES, 5, 1), observed(TEACHER_SHAPES, 5, 2)
    interrupted = built(method)
    optimizer = torch.optim.SGD(interrupted.parameters(), 0.01)
    interrupted(student, teacher, batch(5)).backward()
    optimizer.step()
    torch.manual_seed(7)
    resumed = method.transfer(
        Probe(observed(STUDENT_SHAPES, 2), observed(TEACHER_SHAPES, 2), torch.arange(3))
    ).train()
    after = batch(5, epoch=1)
    expected = interrupted(student, teacher, after)
    assert not torch.equal(resumed(student, teacher, after), expected)
    state = interrupted.state_dict()
    assert all(type(value) is Tensor for value in state.values())
    resumed.load_state_dict(state)
    assert torch.equal(resumed(student, teacher, after), interrupted(student, teacher, after))


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_the_loss_is_proportional_to_its_weight(method):
    student, teacher = observed(STUDENT_SHAPES, 5, 1), observed(TEACHER_SHAPES, 5, 2)
    once = built(method)(student, teacher, batch(5))
    thrice = built(method.model_copy(update={"weight": 3 * method.weight}))
    torch.testing.assert_close(thrice(student, teacher, batch(5)), 3 * once)


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_the_order_of_a_batch_does_not_matter(method):
    order = torch.tensor([3, 0, 4, 2, 1])
    student, teacher = observed(STUDENT_SHAPES, 5, 1), observed(TEACHER_SHAPES, 5, 2)
    turned = [of(maps, lambda map_: map_[order]) for maps in (student, teacher)]
    torch.testing.assert_close(
        built(method)(*turned, batch(5)), built(method)(student, teacher, batch(5))
    )


@pytest.mark.parametrize(("method", "scale"), product(METHODS, [0.0, 1e-6, 1e4]), ids=str)
def test_silent_and_extreme_maps_in_bfloat16_have_finite_loss_and_gradient(method, scale):
    def extreme(map_: Tensor) -> Tensor:
        # One channel is dead even where the others are extreme.
        alive = (torch.arange(map_.shape[1]) > 0)[:, None, None]
        return (scale * map_ * alive).to(torch.bfloat16)

    student = of(of(observed(STUDENT_SHAPES, 5, 1), extreme), leaf)
    teacher = of(observed(TEACHER_SHAPES, 5, 2), extreme)
    if method in WITH_WEIGHTS:
        # Convolutions want the precision of their weights; the objective hands over float32.
        student, teacher = of(of(student, Tensor.float), leaf), of(teacher, Tensor.float)
    loss = built(method)(student, teacher, batch(5))
    loss.backward()
    assert torch.isfinite(loss)
    for map_ in student.features:
        assert map_.grad is None or torch.isfinite(map_.grad).all()


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_a_transfer_can_be_pickled(method):
    transfer = built(method)
    student, teacher = observed(STUDENT_SHAPES, 5, 1), observed(TEACHER_SHAPES, 5, 2)
    copy = pickle.loads(pickle.dumps(transfer))
    assert torch.equal(copy(student, teacher, batch(5)), transfer(student, teacher, batch(5)))


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_the_student_can_learn_its_teachers_maps(method):
    shapes = [(4, 6, 6), (5, 3, 3)]
    teacher = observed(shapes, 6, 2)
    student = of(observed(shapes, 6, 1), leaf)
    transfer = built(method, shapes, shapes)
    optimizer = torch.optim.Adam([*student.features, *transfer.parameters()], 0.03)
    losses = []
    for _ in range(60):
        loss = transfer(student, teacher, batch(6, epoch=5))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # VID's likelihood has no lower bound to compare with.
    assert losses[-1] < (losses[0] - 0.2 if method.method == "vid" else 0.5 * losses[0])
