from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model_compression.images import Batch
from model_compression.models import Checkpoint, ModelSpec, build_model
from model_compression.pruning.evidence import Evidence
from model_compression.pruning.masked import MaskedObjective, is_due, masked_weights
from model_compression.pruning.masks import MaskPruningSettings, prunable_weights, weight_masks
from model_compression.pruning.n_m import NMPruningSettings, n_m_masks
from model_compression.pruning.schedules import Cubic, Iterative, OneShot, complete_at, share_cut
from model_compression.training import (
    CrossEntropy,
    Trainee,
    TrainingSettings,
    TrainingState,
    fit,
    read_training_state,
    write_training_state,
)

SPEC = ModelSpec(name="resnet8", options={"width": 4}, input_shape=(1, 12, 12), classes=3)
CUBIC = {"name": "cubic", "begin": 0.0, "end": 0.5}
ITERATIVE = {"name": "iterative", "steps": 3, "end": 0.5}
EPOCHS, STEPS = 4, 6
OPTIMIZERS = {
    "sgd": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    "adamw": {"name": "adamw", "learning_rate": 0.005, "weight_decay": 0.1},
}


def settings(**changed: object) -> MaskPruningSettings:
    values = {"method": "weights", "sparsity": 0.75, "update_every": 2}
    return MaskPruningSettings.model_validate(values | changed)


def n_m(**changed: object) -> NMPruningSettings:
    return NMPruningSettings.model_validate({"method": "n_m", **changed})


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_model(SPEC)


def evidence_of(module: nn.Module) -> Evidence:
    generator = torch.Generator().manual_seed(9)
    return Evidence(
        gradients={
            name: torch.randn(weight.shape, generator=generator)
            for name, weight in prunable_weights(module).items()
        }
    )


def trainee(chosen: MaskPruningSettings | NMPruningSettings) -> Trainee:
    module = network()
    objective = MaskedObjective(
        CrossEntropy(), module, chosen, EPOCHS * STEPS, evidence_of(module), seed=1
    )
    return Trainee(
        module, objective, after_step=objective.hold, after_average=objective.hold_average
    )


@pytest.fixture
def tune(tiny_images, tiny_normalization):
    """Fine-tunes under the masks; every state."""
    start = Checkpoint(
        SPEC, {}, "pruned", "p1", ("top", "middle", "bottom"), normalization=tiny_normalization
    )

    def run(
        prepared: Trainee, resume: TrainingState | None = None, **changed: object
    ) -> list[TrainingState]:
        values = {
            "epochs": EPOCHS,
            "batch_size": 96 // STEPS,
            "optimizer": OPTIMIZERS["sgd"],
            "precision": "float32",
            "ema_decay": 0.9,
        }
        how = TrainingSettings.model_validate(values | changed)
        return list(fit(lambda: prepared, start, tiny_images, tiny_images, how, resume))

    return run


def zeros(weights, names) -> int:
    return sum(int((weights[name] == 0).sum()) for name in names)


def copied(tensors):
    return {name: tensor.clone() for name, tensor in tensors.items()}


def total(module: nn.Module) -> int:
    return sum(weight.numel() for weight in prunable_weights(module).values())


SCHEDULES = st.one_of(
    st.just(OneShot()),
    st.builds(
        Iterative, name=st.just("iterative"), steps=st.integers(1, 6), end=st.floats(0.05, 1)
    ),
    st.floats(0, 0.9).flatmap(
        lambda begin: st.builds(
            Cubic, name=st.just("cubic"), begin=st.just(begin), end=st.floats(begin + 0.05, 1)
        )
    ),
)


@given(schedule=SCHEDULES, steps=st.integers(1, 200), every=st.integers(1, 50))
def test_the_last_choice_is_made_as_soon_as_the_schedule_is_complete(schedule, steps, every):
    due = [step for step in range(steps + 1) if is_due(schedule, step, steps, every)]
    assert due
    assert share_cut(schedule, due[-1] / steps) == 1
    assert due[-1] - 1 < complete_at(schedule) * steps + 1e-6
    if isinstance(schedule, Cubic):
        assert all(step % every == 0 for step in due[:-1])
    if isinstance(schedule, OneShot):
        assert due == [0]


def test_an_iterative_schedule_chooses_when_it_cuts_whatever_update_every_says():
    schedule = Iterative(name="iterative", steps=3, end=0.5)
    assert [step for step in range(101) if is_due(schedule, step, 100, 32)] == [0, 25, 50]


def test_a_cubic_schedule_chooses_every_so_many_steps_and_at_its_end():
    schedule = Cubic(name="cubic", begin=0.1, end=0.5)
    assert [step for step in range(101) if is_due(schedule, step, 100, 15)] == [15, 30, 45, 50]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "chosen",
    [
        settings(),
        settings(scope="row", importance="taylor"),
        settings(schedule=CUBIC),
        settings(schedule=ITERATIVE, importance="lamp"),
        settings(schedule=CUBIC, importance="movement"),
        settings(importance="random", scope="layer"),
        n_m(),
    ],
    ids=["one_shot", "taylor", "cubic", "iterative", "movement", "random", "n_m"],
)
def test_after_every_step_all_that_is_dropped_is_exactly_zero_in_weights_and_average(
    tune, chosen, optimizer
):
    prepared = trainee(chosen)
    objective = prepared.objective
    held = []

    def exactly_zero(tensors) -> bool:
        return all(
            not tensors[name][~mask].any() and not torch.signbit(tensors[name][~mask]).any()
            for name, mask in objective.masks.items()
        )

    def hold() -> None:
        objective.hold()
        held.append(exactly_zero(prepared.model.state_dict()))

    def hold_average(averaged) -> None:
        objective.hold_average(averaged)
        held.append(exactly_zero(averaged))

    watched = replace(prepared, after_step=hold, after_average=hold_average)
    states = tune(watched, optimizer=OPTIMIZERS[optimizer])
    assert len(held) == 2 * EPOCHS * STEPS + 1
    assert all(held)
    # Nothing but what is dropped is zero: the weights that stay were trained.
    names = list(objective.masks)
    wanted = sum(int((~mask).sum()) for mask in objective.masks.values())
    assert zeros(states[-1].weights, names) == wanted == zeros(states[-1].averaged, names)


@pytest.mark.parametrize(
    ("importance", "schedule"),
    [
        ("magnitude", {"name": "one_shot"}),
        *(
            (importance, schedule)
            for importance in ("magnitude", "movement")
            for schedule in (CUBIC, ITERATIVE)
        ),
    ],
)
def test_exactly_the_share_that_the_schedule_says_is_zero_after_each_epoch(
    tune, importance, schedule
):
    chosen = settings(schedule=schedule, importance=importance, update_every=1)
    states = tune(trainee(chosen))
    names = masked_weights(network(), chosen)
    for state in states:
        share = share_cut(chosen.schedule, state.epoch / EPOCHS)
        assert zeros(state.weights, names) == round(share * 0.75 * total(network()))
    assert zeros(states[-1].best.weights, names) == round(0.75 * total(network()))


def test_one_shot_drops_what_the_network_itself_says_and_nothing_more_later(tune):
    chosen = settings(importance="taylor")
    prepared = trainee(chosen)
    expected = weight_masks(network(), chosen, evidence_of(network()))
    for name, mask in expected.items():
        assert torch.equal(prepared.model.get_parameter(name) != 0, mask)
    tune(prepared)
    assert all(torch.equal(mask, expected[n]) for n, mask in prepared.objective.masks.items())


def test_n_of_m_are_left_through_all_of_the_training(tune):
    chosen = n_m(n=1, m=4)
    expected = n_m_masks(network(), chosen)
    weights = tune(trainee(chosen))[-1].weights
    assert masked_weights(network(), chosen) == list(expected)
    for name, mask in expected.items():
        assert torch.equal(weights[name] != 0, mask)
        assert ((weights[name].reshape(-1, 4) != 0).sum(1) == 1).all()


@pytest.mark.parametrize("importance", ["magnitude", "lamp", "random", "taylor"])
def test_what_magnitude_and_its_like_have_dropped_never_comes_back(tune, importance):
    prepared = trainee(settings(schedule=CUBIC, importance=importance))
    masks = [copied(prepared.objective.masks)]

    def hold() -> None:
        prepared.objective.hold()
        masks.append(copied(prepared.objective.masks))

    tune(replace(prepared, after_step=hold))
    assert len(masks) == EPOCHS * STEPS + 1
    for earlier, later in pairwise(masks):
        assert not any((later[name] & ~earlier[name]).any() for name in earlier)


@pytest.mark.parametrize(
    "chosen",
    [
        settings(schedule=CUBIC),
        settings(schedule=CUBIC, importance="movement"),
        settings(schedule=ITERATIVE, importance="movement"),
        n_m(),
    ],
    ids=["magnitude", "movement", "movement_iterative", "n_m"],
)
def test_a_resumed_training_reaches_bit_identical_weights_and_masks(tune, tmp_path, chosen):
    whole = tune(trainee(chosen))
    for epoch in (1, 2):
        path = tmp_path / f"{epoch}.safetensors"
        write_training_state(whole[epoch - 1], path)
        resumed = tune(trainee(chosen), read_training_state(path))
        assert [state.epoch for state in resumed] == list(range(epoch + 1, EPOCHS + 1))
        for part in ("weights", "averaged", "objective"):
            first, second = getattr(resumed[-1], part), getattr(whole[-1], part)
            assert first.keys() == second.keys()
            assert all(torch.equal(first[name], second[name]) for name in first)


class Replayed(nn.Module):
    """A linear layer whose gradients and updates a test writes."""

    def __init__(self, weight: list[float]) -> None:
        super().__init__()
        self.layer = nn.Linear(len(weight), 1, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([weight]))

    def forward(self, images):
        return self.layer(images)


class NoLoss(CrossEntropy):
    def forward(self, batch, model):
        return None


BATCH = Batch(torch.zeros(1, 1), torch.zeros(1), torch.zeros(1), epoch=0)


def step(objective: MaskedObjective, module: nn.Module, gradient: list[float], rate: float) -> None:
    objective(BATCH, module)
    module.layer.weight.grad = torch.tensor([gradient])
    with torch.no_grad():
        module.layer.weight.sub_(rate * module.layer.weight.grad)
    objective.hold()


@given(seed=st.integers(0, 1000))
def test_movement_is_what_numpy_says(seed):
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=8).astype(np.float32)
    gradients = generator.normal(size=(12, 8)).astype(np.float32)
    chosen = settings(
        importance="movement", sparsity=0.5, schedule={"name": "cubic", "end": 1}, update_every=3
    )
    module = Replayed(weight.tolist())
    objective = MaskedObjective(NoLoss(), module, chosen, total_steps=12)
    values, scores, kept = weight.copy(), np.zeros(8, np.float32), np.ones(8, bool)
    for number, gradient in enumerate(gradients, start=1):
        step(objective, module, gradient.tolist(), rate=0.5)
        # Dropped weights keep the value that they had, and their scores go on.
        scores -= values * gradient
        values = np.where(kept, values - np.float32(0.5) * gradient, values)
        if number % 3 == 0:
            going = round((1 - (1 - number / 12) ** 3) * 0.5 * 8)
            kept = np.ones(8, bool)
            kept[np.argsort(scores, kind="stable")[:going]] = False
        np.testing.assert_array_equal(objective.masks["layer.weight"].numpy()[0], kept)
        np.testing.assert_allclose(
            module.layer.weight.detach().numpy()[0], np.where(kept, values, 0), rtol=1e-5
        )


def test_movement_takes_a_weight_back_with_the_value_that_it_had():
    chosen = settings(
        importance="movement", sparsity=0.5, schedule={"name": "iterative", "steps": 2, "end": 1.0}
    )
    module = Replayed([-2.0, 1.0, 3.0, 4.0])
    objective = MaskedObjective(NoLoss(), module, chosen, total_steps=2)
    # Nothing has moved yet, so magnitude decides on the first quarter.
    assert module.layer.weight.tolist() == [[-2.0, 0.0, 3.0, 4.0]]
    step(objective, module, [0.0, -5.0, 1.0, 2.0], rate=0.0)
    assert module.layer.weight.tolist() == [[-2.0, 0.0, 3.0, 4.0]]
    step(objective, module, [0.0, -5.0, 1.0, 2.0], rate=0.0)
    assert module.layer.weight.tolist() == [[-2.0, 1.0, 0.0, 0.0]]


def test_a_dropped_weight_stays_so_where_others_have_become_zero_too():
    chosen = settings(sparsity=0.5, schedule={"name": "iterative", "steps": 2, "end": 1.0})
    module = Replayed([1.0, 3.0, 0.5, 4.0])
    objective = MaskedObjective(NoLoss(), module, chosen, total_steps=1)
    assert objective.masks["layer.weight"].tolist() == [[True, True, False, True]]
    # The first two weights step onto 0 and stand before the dropped one, as small as it is.
    step(objective, module, [1.0, 3.0, 7.0, 0.0], rate=1.0)
    assert objective.masks["layer.weight"].tolist() == [[False, True, False, True]]


def test_a_weight_that_two_layers_share_is_held_under_both_names():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    objective = MaskedObjective(NoLoss(), module, settings(), total_steps=1)
    averaged = {name: torch.ones_like(value) for name, value in module.state_dict().items()}
    objective.hold_average(averaged)
    for name in ("0.weight", "1.weight"):
        assert torch.equal(averaged[name] != 0, objective.masks["0.weight"])
    assert averaged["0.bias"].all()


def test_the_network_is_neither_stored_nor_optimised_with_the_objective():
    prepared = trainee(settings(importance="movement", schedule=CUBIC))
    assert not list(prepared.objective.parameters())
    kinds = {name.partition("/")[0] for name in prepared.objective.state_dict()}
    assert kinds == {"steps", "mask", "score", "dormant"}


def test_the_inner_objective_is_stored_and_optimised_and_gives_the_loss():
    class Learning(CrossEntropy):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    module = network()
    objective = MaskedObjective(Learning(), module, settings(), total_steps=1)
    assert [name for name, _ in objective.named_parameters()] == ["inner.scale"]
    images = torch.randn(4, *SPEC.input_shape)
    batch = Batch(images, torch.arange(4) % 3, torch.arange(4), epoch=0)
    module.eval()
    assert torch.equal(objective(batch, module).loss, CrossEntropy()(batch, module).loss)


def test_settings_that_do_not_fit_are_refused_before_the_training():
    module = network()
    with pytest.raises(ValueError, match="gradients"):
        MaskedObjective(CrossEntropy(), module, settings(importance="taylor"), 10)
    with pytest.raises(ValueError, match="at least one step"):
        MaskedObjective(CrossEntropy(), module, settings(), 0)
    with pytest.raises(ValueError, match="is no layer"):
        MaskedObjective(CrossEntropy(), module, settings(excluded=["no"]), 10)
