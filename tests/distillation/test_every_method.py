"""What holds for each method of the union, whatever it transfers."""

import copy
from contextlib import nullcontext
from typing import get_args

import pytest
import torch
from tests.distillation.conftest import SHAPE, pair_of, spec_of
from torch import nn

from model_compression.distillation import DistillationMethod, FrozenTeacher, Method, Pair
from model_compression.images import Batch
from model_compression.models import ModelSpec, build_model
from model_compression.pruning import ChannelPruningSettings, prune_channels
from model_compression.quantization import calibrate, prepare_qat
from model_compression.training import CrossEntropy, Objective, autocast

SETTINGS: dict[str, type[Method]] = {
    get_args(settings.model_fields["method"].annotation)[0]: settings
    for settings in get_args(get_args(DistillationMethod)[0])
}
ALONE = {name for name, settings in SETTINGS.items() if not settings.asks_teacher}
SLOW = {"data_free"}


def make(name: str, pair: Pair, seed: int = 1) -> Objective:
    torch.manual_seed(seed)
    options = {"width": 8} if name == "data_free" else {}
    return SETTINGS[name](method=name, **options).objective(pair)


@pytest.mark.parametrize("name", SETTINGS)
def test_one_line_chooses_a_method_with_the_literatures_settings(name):
    settings = SETTINGS[name](method=name)
    assert settings.method == name
    assert SETTINGS[name].model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("name", SETTINGS)
def test_gradient_reaches_the_student_and_what_is_learned_beside_it_but_no_teacher(
    name, pair, batch
):
    objective = make(name, pair).train()
    output = objective(batch, pair.student.train())
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert output.logits.shape == (len(batch.images), 3)
    missing = [n for n, p in pair.student.named_parameters() if p.grad is None]
    assert missing == []
    assert all(p.grad is not None for p in objective.parameters())
    assert all(p.grad is None for p in pair.teacher.module.parameters())


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_in_bfloat16_is_finite(name, pair, batch):
    objective = make(name, pair).train()
    with autocast(torch.bfloat16, torch.device("cpu")):
        output = objective(batch, pair.student.train())
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert output.loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in pair.student.parameters())


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_asks_its_device_for_no_value(name, pair, batch, monkeypatch):
    """On PyTorch's meta device, which has shapes alone; on a GPU it would wait for the answer."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no meta
    objective = make(name, pair).train().to("meta")
    pair.teacher.module.to("meta")
    there = [tensor.to("meta") for tensor in batch[:3]]
    student = pair.student.train().to("meta")
    for _ in range(2):
        objective(Batch(*there, batch.epoch, positions=batch.indices), student).loss.backward()
    assert all(p.grad.is_meta for p in student.parameters())


@pytest.mark.parametrize("name", [*SETTINGS, "dist by images"])
def test_parts_of_a_batch_teach_what_the_whole_does_where_the_method_says_so(name, pair, batch):
    name, _, by_images = name.partition(" ")
    settings = SETTINGS[name](method=name, **({"gamma": 0} if by_images else {}))
    batch = batch._replace(epoch=0)
    pair.student.eval()

    def gradient(first: int, last: int) -> torch.Tensor:
        torch.manual_seed(1)
        objective = settings.objective(pair).train()
        for norm in objective.modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                norm.eval()  # a training of several processes sees to batch norms by itself
        part = [tensor[first:last] for tensor in batch[:3]]
        pair.student.zero_grad()
        (objective(Batch(*part, 0), pair.student).loss * (last - first) / 8).backward()
        return torch.cat([weight.grad.flatten() for weight in pair.student.parameters()])

    whole, parts = gradient(0, 8), gradient(0, 3) + gradient(3, 8)
    is_same = torch.linalg.vector_norm(whole - parts) < 1e-4 * torch.linalg.vector_norm(whole)
    assert is_same == settings.is_mean_over_images
    assert (settings.why_not_shared() is None) == settings.is_mean_over_images


@pytest.mark.parametrize("name", SETTINGS)
def test_the_teacher_stays_as_it_was(name, pair, batch):
    teacher = pair.teacher.module
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    objective = make(name, pair).train()
    objective(batch, pair.student.train()).loss.backward()
    assert not any(module.training for module in teacher.modules())
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())


@pytest.mark.parametrize("name", SETTINGS)
def test_the_student_is_not_changed_by_making_an_objective(name, pair):
    before = {key: value.clone() for key, value in pair.student.state_dict().items()}
    make(name, pair)
    assert list(pair.student.state_dict()) == list(before)
    assert all(torch.equal(before[k], value) for k, value in pair.student.state_dict().items())
    assert all(p.requires_grad for p in pair.student.parameters())


@pytest.mark.parametrize("name", SETTINGS)
def test_an_objective_goes_on_from_its_state_bit_for_bit(name, pair, batch):
    """Two steps, a round trip through the state, a third step: the same loss as without it."""
    straight, resumed = make(name, pair).train(), make(name, pair, seed=9).train()
    student = pair.student.train()
    start = {key: value.clone() for key, value in student.state_dict().items()}

    def run(objective: Objective, steps: int) -> torch.Tensor:
        for _ in range(steps):
            student.load_state_dict(start)
            loss = objective(batch, student).loss
        return loss

    torch.manual_seed(2)
    run(straight, 2)
    resumed.load_state_dict(straight.state_dict())
    torch.manual_seed(3)
    expected = run(straight, 1)
    torch.manual_seed(3)
    assert torch.equal(run(resumed, 1), expected)
    assert all(isinstance(value, torch.Tensor) for value in straight.state_dict().values())


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - ALONE - {"data_free", "lwf"}))
def test_a_student_that_is_its_teacher_has_nothing_to_learn_but_the_labels(name, batch):
    # What is learned beside the student (projections, a critic) is not there yet, so only methods
    # without such can tell that nothing is left.
    pair, teacher = pair_of(spec_of("resnet8", width=4), spec_of("resnet8", width=4), batch.labels)
    student = pair.student
    student.load_state_dict(teacher.state_dict())
    objective = make(name, pair)
    if list(objective.parameters()) or name == "crd":
        pytest.skip("has projections")
    student.eval()
    student.zero_grad()
    objective(batch, student).loss.backward()
    whole = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()
    hard = CrossEntropy()(batch, student).loss
    (objective._method.labels_weight * hard).backward()
    for gradient, parameter in zip(whole, student.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-2, atol=2e-4)


ZOO = {
    "resnet20 to net": ("resnet20", "net", 28),
    "net to resnet8": ("net", "resnet8", 28),
    "wrn_16_2 to mobilenet_v3_small": ("wrn_16_2", "mobilenet_v3_small", 64),
    "vit_b_32 to resnet8": ("vit_b_32", "resnet8", 64),
    "swin_t to shufflenet_v2_x0_5": ("swin_t", "shufflenet_v2_x0_5", 64),
    "squeezenet1_1 to resnet14": ("squeezenet1_1", "resnet14", 64),
}


@pytest.fixture(scope="module", params=ZOO)
def zoo_pair(request) -> tuple[Pair, Batch]:
    teacher, student, side = ZOO[request.param]
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2, 0])
    pair, _ = pair_of(spec_of(teacher, (1, side, side)), spec_of(student, (1, side, side)), labels)
    images = torch.randn(4, 1, side, side)
    return pair, Batch(images, labels, torch.arange(4), 0)


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - SLOW))
def test_any_method_combines_with_any_teacher_and_student(name, zoo_pair):
    pair, batch = zoo_pair
    pair.student.zero_grad()
    output = make(name, pair).train()(batch, pair.student.train())
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(
        p.grad is not None and torch.isfinite(p.grad).all() for p in pair.student.parameters()
    )


@pytest.fixture(scope="module", params=["pruned", "quantized"])
def compressed(request) -> tuple[ModelSpec, nn.Module]:
    """A student on its way to the file, and what it was before; each test copies it."""
    spec = spec_of("resnet8", width=8)
    torch.manual_seed(0)
    student = build_model(spec)
    if request.param == "pruned":
        settings = ChannelPruningSettings(method="channels", ratio=0.3, round_to=2)
        return spec, prune_channels(student, spec.input_shape, settings, 0)
    prepared = prepare_qat(student.eval(), spec.input_shape)
    calibrate(prepared, [torch.randn(8, *SHAPE)])
    return spec, prepared.train()


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_method_serves_fine_tuning_and_quantization_aware_training(name, compressed, batch):
    torch.manual_seed(0)
    spec, student = copy.deepcopy(compressed)
    teacher = spec_of("resnet14", width=8)
    frozen = FrozenTeacher(build_model(teacher), teacher.input_shape, teacher.classes, "float32")
    pair = Pair(frozen, student, spec, batch.labels)
    objective = make(name, pair).train()
    output = objective(batch, student)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(p.grad is not None for p in student.parameters())
