import logging
from contextlib import nullcontext
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from model_compression.fingerprint import fingerprint
from model_compression.images import AugmentationParameters, supply
from model_compression.machine import processor
from model_compression.models import Checkpoint, ModelSpec, build_model, build_with_weights
from model_compression.training import (
    CrossEntropy,
    LossOutput,
    Trainee,
    TrainingDivergedError,
    TrainingSettings,
    fit,
    loop,
    read_training_state,
    tuning,
    write_training_state,
)
from model_compression.training.execution import Execution
from model_compression.training.progress import TrainingProgress
from model_compression.training.tuning import Choices

SPEC = ModelSpec(name="resnet8", options={"width": 4}, input_shape=(1, 12, 12), classes=3)


def settings(**changes) -> TrainingSettings:
    values = {
        "epochs": 4,
        "batch_size": 16,
        "optimizer": {"name": "sgd", "learning_rate": 0.05},
        "schedule": {"name": "warmup_cosine", "warmup_epochs": 1},
        "precision": "float32",
        "augmentation": AugmentationParameters(),
    }
    return TrainingSettings.model_validate(values | changes)


@pytest.fixture
def start(tiny_normalization) -> Checkpoint:
    return Checkpoint(
        spec=SPEC,
        weights={},
        stage="teacher",
        fingerprint="f1",
        classes=("top", "middle", "bottom"),
        normalization=tiny_normalization,
    )


def prepare() -> Trainee:
    torch.manual_seed(0)
    return Trainee(build_model(SPEC), CrossEntropy())


def equal(first, second) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


class WithProjection(CrossEntropy):
    """An objective that learns something of its own, as a feature distillation does."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 3))

    def forward(self, batch, model):
        logits = model(batch.images).float()
        loss = nn.functional.cross_entropy(logits * self.scale, batch.labels)
        return LossOutput(loss, logits)


class Dropping(nn.Module):
    """A network that draws random numbers while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 3))

    def forward(self, images):
        return self.layers(images)


def test_training_learns_and_says_what_it_did(tiny_images, start):
    states = list(fit(prepare, start, tiny_images, tiny_images, settings(epochs=6)))
    assert [state.epoch for state in states] == [1, 2, 3, 4, 5, 6]
    assert [state.finished for state in states] == [False] * 5 + [True]
    history = states[-1].history
    assert history[-1]["validation_accuracy"] > 0.9
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert set(history[0]) == {
        "epoch",
        "learning_rate",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "seconds",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": {"name": "adamw", "learning_rate": 0.01}},
        {"ema_decay": 0.8, "gradient_clip": 1.0},
        {"precision": "bfloat16", "channels_last": False, "augmentation": None},
    ],
)
@pytest.mark.parametrize("make", [prepare, lambda: Trainee(Dropping(), WithProjection())])
def test_resumed_training_reaches_bit_identical_weights(
    tiny_images, start, tmp_path, changes, make
):
    def prepared() -> Trainee:
        torch.manual_seed(0)
        return make()

    arguments = (prepared, start, tiny_images, tiny_images, settings(**changes))
    *_, whole = fit(*arguments)
    interrupted = fit(*arguments)
    next(interrupted)
    write_training_state(next(interrupted), tmp_path / "state.safetensors")
    interrupted.close()
    torch.manual_seed(12345)
    *_, resumed = fit(*arguments, read_training_state(tmp_path / "state.safetensors"))
    assert equal(whole.weights, resumed.weights)
    assert equal(whole.averaged, resumed.averaged)
    assert equal(whole.objective, resumed.objective)
    assert equal(whole.best.weights, resumed.best.weights)
    assert [row["train_loss"] for row in whole.history] == [
        row["train_loss"] for row in resumed.history
    ]


def test_finished_training_is_reused_without_being_prepared(tiny_images, start):
    *_, finished = fit(prepare, start, tiny_images, tiny_images, settings(epochs=2))

    def fail() -> Trainee:
        raise AssertionError("nothing is left to train")

    again = list(fit(fail, start, tiny_images, tiny_images, settings(epochs=2), finished))
    assert again == [finished]


def test_changed_fingerprint_starts_over_and_says_so(tiny_images, start, caplog):
    *_, finished = fit(prepare, start, tiny_images, tiny_images, settings(epochs=2))
    changed = replace(start, fingerprint="f2")
    with caplog.at_level(logging.INFO):
        states = list(fit(prepare, changed, tiny_images, tiny_images, settings(epochs=2), finished))
    assert [state.epoch for state in states] == [1, 2]
    assert "teacher: its data, parameters or source checkpoints have changed" in caplog.text


def test_nan_stops_the_stage_and_names_epoch_and_remedy(tiny_images, start):
    class TurnsNan(CrossEntropy):
        def forward(self, batch, model):
            output = super().forward(batch, model)
            return LossOutput(
                output.loss * (float("nan") if batch.epoch == 1 else 1), output.logits
            )

    def poisoned() -> Trainee:
        return Trainee(build_model(SPEC), TurnsNan())

    stream = fit(poisoned, start, tiny_images, tiny_images, settings())
    good = next(stream)
    with pytest.raises(
        TrainingDivergedError, match=r"epoch 2; the state after epoch 1 is kept.*learning_rate"
    ):
        next(stream)
    assert all(torch.isfinite(value).all() for value in good.weights.values())


def test_nan_in_the_first_epoch_says_that_nothing_is_kept(tiny_images, start):
    huge = settings(optimizer={"name": "sgd", "learning_rate": 1e30})
    with pytest.raises(TrainingDivergedError, match="no epoch was finished"):
        next(fit(prepare, start, tiny_images, tiny_images, huge))


def test_best_epoch_is_chosen_on_validation_not_the_last(tiny_images, start):
    def forgets() -> Trainee:
        model = prepare().model

        def before_epoch(epoch: int) -> None:
            if epoch == 3:
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.zero_()

        return Trainee(model, CrossEntropy(), before_epoch=before_epoch)

    states = list(fit(forgets, start, tiny_images, tiny_images, settings()))
    losses = [row["validation_loss"] for row in states[-1].history]
    best_epoch = states[-1].best.details["best_epoch"]
    assert losses[best_epoch - 1] == min(losses)
    assert best_epoch < 4
    assert equal(states[-1].best.weights, states[best_epoch - 1].weights)


def test_averaged_weights_are_the_ones_kept(tiny_images, start):
    *_, state = fit(prepare, start, tiny_images, tiny_images, settings(ema_decay=0.5))
    assert not equal(state.averaged, state.weights)
    if state.best.details["best_epoch"] == state.epoch:
        assert equal(state.best.weights, state.averaged)


def test_hook_after_each_step_sees_every_update(tiny_images, start):
    calls = []

    def counted() -> Trainee:
        return Trainee(build_model(SPEC), CrossEntropy(), after_step=lambda: calls.append(1))

    list(fit(counted, start, tiny_images, tiny_images, settings(epochs=2)))
    assert len(calls) == 2 * (96 // 16)


def test_warm_up_reaches_the_peak_learning_rate(tiny_images, start):
    *_, state = fit(prepare, start, tiny_images, tiny_images, settings())
    rates = [row["learning_rate"] for row in state.history]
    assert rates[0] == pytest.approx(0.05)
    assert rates == sorted(rates, reverse=True)


def test_nan_on_the_validation_images_stops_the_stage_too(tiny_images, start):
    def breaks_in_eval_mode() -> Trainee:
        model = prepare().model
        # Training uses the batch's own variance; only evaluation takes the root of this one.
        model.norm.momentum = 0.0
        model.norm.running_var.fill_(-1.0)
        return Trainee(model, CrossEntropy())

    with pytest.raises(TrainingDivergedError, match="on the validation images in epoch 1"):
        next(fit(breaks_in_eval_mode, start, tiny_images, tiny_images, settings()))


def test_ranges_that_diverge_in_quantization_stop_the_stage_by_name(tiny_images, start):
    class Overflows(CrossEntropy):
        def forward(self, batch, model):
            raise FloatingPointError("Activations run from -inf to inf")

    def overflowing() -> Trainee:
        return Trainee(build_model(SPEC), Overflows())

    with pytest.raises(TrainingDivergedError, match=r"teacher: Activations run .* in epoch 1; no"):
        next(fit(overflowing, start, tiny_images, tiny_images, settings()))


@pytest.mark.parametrize("ready_from", range(4))
def test_no_epoch_before_the_first_ready_one_outlasts_it(tiny_images, start, ready_from):
    def forgets() -> Trainee:
        model = prepare().model

        def before_epoch(epoch: int) -> None:
            if epoch > 0:
                with torch.no_grad():
                    model.classifier.weight.mul_(3.0**epoch)

        return Trainee(model, CrossEntropy(), before_epoch=before_epoch, ready_from=ready_from)

    states = list(fit(forgets, start, tiny_images, tiny_images, settings()))
    losses = [row["validation_loss"] for row in states[-1].history]
    for state in states:
        ready = range(ready_from, state.epoch)
        expected = min(ready, key=losses.__getitem__) if ready else state.epoch - 1
        assert state.best.details["best_epoch"] == expected + 1
        assert equal(state.best.weights, states[expected].weights)


def narrower(width: int) -> ModelSpec:
    return SPEC.model_copy(update={"options": {"width": width}})


def shrinking(objective=CrossEntropy, cuts=((1, 3), (3, 2)), seen=None):
    """``prepare`` and ``fitted`` of a training that takes up a narrower network at some epochs."""

    def take_up(model: nn.Module) -> Trainee:
        torch.manual_seed(0)
        made = objective()

        def reshape(epoch: int, model: nn.Module) -> Trainee | None:
            if seen is not None:
                seen.append((epoch, model.classifier.in_features))
            width = dict(cuts).get(epoch)
            if width is None:
                return None
            cut = build_model(narrower(width))
            old = model.state_dict()
            weights = {
                name: old[name][tuple(slice(size) for size in value.shape)].contiguous()
                for name, value in cut.state_dict().items()
            }
            return take_up(build_with_weights(narrower(width), weights))

        return Trainee(model, made, reshape=reshape, ready_from=max(epoch for epoch, _ in cuts))

    def begin() -> Trainee:
        torch.manual_seed(0)
        return take_up(build_model(SPEC))

    def fitted(weights) -> Trainee:
        width = weights["classifier.weight"].shape[1] // 4
        return take_up(build_with_weights(narrower(width), weights))

    return begin, fitted


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": {"name": "adamw", "learning_rate": 0.01}},
        {"ema_decay": 0.8, "gradient_clip": 1.0},
        {"precision": "bfloat16"},
    ],
)
@pytest.mark.parametrize("stopped_after", [1, 2, 3, 4])
def test_a_reshaped_training_is_resumed_bit_for_bit_wherever_it_stopped(
    tiny_images, start, tmp_path, changes, stopped_after
):
    begin, fitted = shrinking(WithProjection)
    chosen = settings(epochs=5, **changes)
    arguments = (begin, start, tiny_images, tiny_images, chosen)
    *_, whole = fit(*arguments)
    interrupted = fit(*arguments)
    for _ in range(stopped_after):
        stored = next(interrupted)
    interrupted.close()
    write_training_state(stored, tmp_path / "state.safetensors")
    read = read_training_state(tmp_path / "state.safetensors")
    torch.manual_seed(12345)

    def not_prepared() -> Trainee:
        raise AssertionError("a stored state is fitted, not begun anew")

    *_, resumed = fit(not_prepared, *arguments[1:], read, fitted)
    for field in ("weights", "averaged", "objective"):
        assert equal(getattr(whole, field), getattr(resumed, field))
    assert equal(whole.best.weights, resumed.best.weights)
    assert whole.best.details == resumed.best.details
    assert whole.weights["classifier.weight"].shape[1] == 8


def test_every_epoch_is_asked_whether_the_network_changes(tiny_images, start):
    seen = []
    begin, _ = shrinking(seen=seen)
    list(fit(begin, start, tiny_images, tiny_images, settings()))
    assert seen == [(0, 16), (1, 16), (2, 12), (3, 12)]


def test_optimiser_and_average_start_anew_with_another_network(tiny_images, start):
    begin, _ = shrinking(cuts=((2, 2),))
    chosen = settings(ema_decay=0.999, epochs=3, optimizer={"name": "adamw", "learning_rate": 0.01})
    *_, last = fit(begin, start, tiny_images, tiny_images, chosen)
    steps = {int(slot["step"]) for slot in last.optimizer["state"].values()}
    assert steps == {96 // 16}
    shapes = {name: value.shape for name, value in last.weights.items()}
    assert {name: value.shape for name, value in last.averaged.items()} == shapes
    assert {name: value.shape for name, value in last.best.weights.items()} == shapes


class OfTheNetworksWidth(WithProjection):
    """An objective with a projection that is as wide as the network, made by ``shrinking``."""

    widths = iter(())

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Parameter(torch.ones(next(self.widths), 1))


@pytest.mark.parametrize(("widths", "kept"), [((4, 4), True), ((4, 2), False)])
def test_what_an_objective_has_learned_goes_on_where_it_still_fits(
    tiny_images, start, widths, kept
):
    scales = []

    class Watched(OfTheNetworksWidth):
        def forward(self, batch, model):
            scales.append((batch.epoch, self.scale.detach().clone()))
            return super().forward(batch, model)

    Watched.widths = iter(widths)
    begin, _ = shrinking(Watched, cuts=((2, 2),))
    list(fit(begin, start, tiny_images, tiny_images, settings(epochs=3)))
    before = [scale for epoch, scale in scales if epoch == 1][-1]
    after = next(scale for epoch, scale in scales if epoch == 2)
    assert not torch.equal(before, torch.ones(1, 3))
    assert torch.equal(after, torch.ones(1, 3)) is not kept


def test_the_average_can_be_held_like_the_network(tiny_images, start):
    def masked() -> Trainee:
        model = prepare().model
        mask = torch.rand(model.stem.weight.shape) > 0.5

        def hold(tensors: dict[str, torch.Tensor]) -> None:
            with torch.no_grad():
                tensors["stem.weight"].mul_(mask)

        return Trainee(
            model,
            CrossEntropy(),
            after_step=lambda: hold(dict(model.named_parameters())),
            after_average=hold,
        )

    # The average begins with the dense network: without the hold it would never forget it.
    *_, state = fit(masked, start, tiny_images, tiny_images, settings(ema_decay=0.9))
    zero = state.weights["stem.weight"] == 0
    assert 0 < zero.sum() < zero.numel()
    assert torch.equal(state.averaged["stem.weight"] == 0, zero)


def test_a_resumed_training_computes_its_steps_as_before(
    start, tiny_images, monkeypatch, tmp_path, caplog
):
    monkeypatch.setenv("MODEL_COMPRESSION_CACHE", str(tmp_path))
    monkeypatch.setattr(tuning, "WORTH_STEPS", 1)
    found = Execution("float32", channels_last=False, compiled=False, threads=1)
    monkeypatch.setattr(tuning, "_search", lambda *_: tuning.Finding(found, 0.01))
    with caplog.at_level(logging.INFO):
        states = list(fit(prepare, start, tiny_images, tiny_images, settings()))
    assert states[-1].execution == found
    assert states[-1].best.details["execution"] == asdict(found)
    assert "float32, contiguous, eager, 1 thread" in caplog.text
    write_training_state(states[0], tmp_path / "state.safetensors")
    stored = read_training_state(tmp_path / "state.safetensors")
    another = replace(found, channels_last=True)
    monkeypatch.setattr(tuning, "_search", lambda *_: tuning.Finding(another, 0.01))
    (tmp_path / "executions.json").unlink()
    resumed = list(fit(prepare, start, tiny_images, tiny_images, settings(), stored))[-1]
    assert resumed.execution == found
    assert equal(resumed.weights, states[-1].weights)
    fixed = settings(channels_last=True)
    assert list(fit(prepare, start, tiny_images, tiny_images, fixed, stored))[-1].execution == (
        another
    )


def test_a_training_that_goes_on_elsewhere_is_computed_as_is_fastest_there(
    start, tiny_images, monkeypatch, caplog
):
    states = fit(prepare, start, tiny_images, tiny_images, settings())
    there = Execution("float32", channels_last=False, compiled=False, threads=16)
    moved = replace(next(states), execution=there, machine="NVIDIA H200, 2 processes")
    with caplog.at_level(logging.INFO):
        on = list(fit(prepare, start, tiny_images, tiny_images, settings(), moved))[-1]
    assert on.execution == Choices("float32").usual(torch.device("cpu"))
    assert on.machine == f"{processor()}, 1 process"
    assert "trained by NVIDIA H200, 2 processes until now" in caplog.text


def test_a_compiled_training_is_the_same_up_to_rounding(start, tiny_images):
    plain = list(fit(prepare, start, tiny_images, tiny_images, settings(epochs=2)))[-1]
    compiled = settings(epochs=2, compile=True)
    state = list(fit(prepare, start, tiny_images, tiny_images, compiled))[-1]
    assert state.execution is not None
    assert state.execution.compiled
    assert state.weights.keys() == plain.weights.keys()
    for name, weight in plain.weights.items():
        torch.testing.assert_close(state.weights[name], weight, rtol=1e-3, atol=1e-4)


def test_what_looks_into_its_network_is_not_compiled(start, tiny_images):
    def looking() -> Trainee:
        trainee = prepare()
        trainee.objective.reads_logits_alone = False
        return trainee

    with pytest.raises(ValueError, match=r"training\.compile is true.*set compile to auto"):
        list(fit(looking, start, tiny_images, tiny_images, settings(compile=True)))


def on_a_device_without_values(start, images, changes, monkeypatch) -> loop._Fit:
    """A training on PyTorch's meta device, which has shapes alone: to ask it for a value fails.

    Whatever works there neither waits for a GPU nor depends on what it computes.
    """
    monkeypatch.setattr(loop, "resolve_device", lambda name: torch.device("meta"))
    monkeypatch.setattr(loop, "autocast", lambda dtype, device: nullcontext())
    monkeypatch.setattr(supply, "free_memory", lambda device: 10**9)
    return loop._Fit(prepare(), start, images, images, settings(**changes), None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 1},
        {"ema_decay": 0.8, "gradient_clip": 1.0, "resident_share": 0},
        {"optimizer": {"name": "adamw", "learning_rate": 0.01}, "augmentation": {"cutout": 3}},
    ],
)
def test_no_step_waits_for_what_the_device_computes(tiny_images, start, changes, monkeypatch):
    training = on_a_device_without_values(start, tiny_images, changes, monkeypatch)
    events = []

    def read_later(value):
        assert value.is_meta
        number = len([event for event in events if event.startswith("asks")])
        events.append(f"asks {number}")

        def read() -> float:
            events.append(f"reads {number}")
            return 96.0

        return read

    monkeypatch.setattr(loop, "read_later", read_later)
    result = training._train(0, TrainingProgress("teacher", 1, None, 1))
    seen = len(training.batches) * training.batches.batch_size
    assert result == (96 / seen, 96 / seen)
    if len(training.batches) == 96:
        # After steps 1, 51 and 96, and the accuracy; only in the end is the newest one read.
        assert events == [
            *("asks 0", "asks 1", "reads 0", "asks 2", "reads 1", "reads 2"),
            *("asks 3", "reads 3"),
        ]


def test_a_loss_that_comes_late_from_the_device_still_stops_the_training(
    tiny_images, start, monkeypatch
):
    training = on_a_device_without_values(start, tiny_images, {"batch_size": 1}, monkeypatch)
    losses = iter([1.0, float("nan"), float("nan")])

    def read_later(value):
        loss = next(losses)
        return lambda: loss

    monkeypatch.setattr(loop, "read_later", read_later)
    with pytest.raises(TrainingDivergedError, match=r"the loss was nan by step 51 in epoch 1"):
        training._train(0, TrainingProgress("teacher", 1, None, 1))


@pytest.mark.parametrize("where", [{"resident_share": 0}, {"device": "cpu"}, {"device": "cuda"}])
def test_where_it_was_trained_is_no_part_of_what_was(where, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert fingerprint(settings(**where)) == fingerprint(settings(device="auto"))
