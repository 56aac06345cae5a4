import functools
import itertools
import logging
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from tests.conftest import noisy_images
from torch import nn

from model_compression.evaluation import count_macs, count_parameters
from model_compression.images import Normalization
from model_compression.models import Checkpoint, ModelSpec, build_model
from model_compression.pruning.channels import ChannelPruningSettings, prune_channels
from model_compression.pruning.evidence import Evidence
from model_compression.pruning.schedules import Cubic, Iterative, OneShot, Schedule, complete_at
from model_compression.pruning.shrinking import Shrinking, plan_cuts, still_to_remove
from model_compression.training import (
    CrossEntropy,
    TrainingSettings,
    TrainingState,
    fit,
    read_training_state,
    write_training_state,
)

SPEC = ModelSpec(name="resnet8", options={"width": 8}, input_shape=(1, 12, 12), classes=3)
SCHEDULES = st.one_of(
    st.just(OneShot()),
    st.builds(
        Iterative,
        name=st.just("iterative"),
        steps=st.integers(1, 8),
        end=st.floats(0.05, 1),
    ),
    st.floats(0, 0.9).flatmap(
        lambda begin: st.builds(
            Cubic, name=st.just("cubic"), begin=st.just(begin), end=st.floats(begin + 0.05, 1)
        )
    ),
)
CUBIC = {"name": "cubic", "begin": 0.0, "end": 0.5}
ITERATIVE = {"name": "iterative", "steps": 3, "end": 0.5}
AVERAGED = {"ema_decay": 0.9}
NORMALIZATION = Normalization(mean=(0.4,), std=(0.25,))


def schedule(values: dict[str, object]) -> OneShot | Iterative | Cubic:
    return TypeAdapter(Schedule).validate_python(values)


def settings(**changed: object) -> ChannelPruningSettings:
    values = {"method": "channels", "ratio": 0.5, "round_to": 1, "importance": "l2"}
    return ChannelPruningSettings.model_validate(values | changed)


def training(**changed: object) -> TrainingSettings:
    values = {
        "epochs": 4,
        "batch_size": 32,
        "optimizer": {"name": "sgd", "learning_rate": 0.02},
        "precision": "float32",
    }
    return TrainingSettings.model_validate(values | changed)


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    torch.manual_seed(0)
    classes = ("top", "middle", "bottom")
    weights = build_model(SPEC).state_dict()
    return Checkpoint(SPEC, weights, "student", "s1", classes, NORMALIZATION)


@pytest.fixture(scope="module")
def tune(source):
    """Trains the source under the settings; every state."""
    images = noisy_images()

    def run(
        chosen: ChannelPruningSettings,
        resume: TrainingState | None = None,
        changes: dict[str, object] | None = None,
        **more: object,
    ) -> list[TrainingState]:
        how = training(**(changes or {}))
        shrinking = Shrinking(
            source, chosen, how.epochs, how.seed, lambda network: CrossEntropy(), **more
        )
        start = replace(source, weights={}, stage="pruned", fingerprint="p1")
        stream = fit(shrinking.begin, start, images, images, how, resume, shrinking.fitted)
        return list(stream)

    return run


@pytest.fixture(scope="module")
def toward(tune):
    """The states of a training that ends at half of what ``target`` counts, each trained once."""

    @functools.cache
    def states(target: str, name: str) -> list[TrainingState]:
        values = {"cubic": CUBIC, "iterative": ITERATIVE}[name]
        return tune(settings(target=target, schedule=values))

    return states


def built(state: TrainingState) -> nn.Module:
    return replace(state.best, weights=state.weights).build()


def share_of(measure, state: TrainingState, source: Checkpoint) -> float:
    return measure(built(state)) / measure(source.build())


def macs(module: nn.Module) -> int:
    return count_macs(module, SPEC.input_shape)


def parameters(module: nn.Module) -> int:
    return count_parameters(module)[0]


def widths(module: nn.Module) -> dict[str, int]:
    return {
        path: layer.out_channels
        for path, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d)
    }


def equal(first, second) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@given(chosen=SCHEDULES, epochs=st.integers(1, 40), data=st.data())
def test_cuts_grow_to_the_whole_and_come_after_the_sparse_training(chosen, epochs, data):
    dense = data.draw(st.integers(0, epochs - 1))
    cuts = plan_cuts(chosen, epochs, dense)
    assert list(cuts) == sorted(cuts)
    assert all(dense <= epoch < epochs for epoch in cuts)
    shares = list(cuts.values())
    assert all(share > 0 for share in shares)
    assert all(one < other for one, other in itertools.pairwise(shares))
    assert shares[-1] == 1
    # All is cut when the schedule says so, but for what would only be cut when all is over.
    due = dense + complete_at(chosen) * (epochs - dense)
    assert max(cuts) - 1 < due or max(cuts) == dense
    assert max(cuts) >= due - 1e-6 or max(cuts) == epochs - 1 or isinstance(chosen, Iterative)


def test_cuts_of_each_schedule_by_hand():
    assert plan_cuts(OneShot(), 4) == {0: 1.0}
    assert plan_cuts(OneShot(), 4, dense=2) == {2: 1.0}
    halves = plan_cuts(schedule({"name": "iterative", "steps": 2, "end": 0.5}), 4)
    assert halves == {0: 0.5, 2: 1.0}
    assert plan_cuts(schedule(CUBIC), 4) == {1: 1 - 0.5**3, 2: 1.0}
    assert plan_cuts(schedule(CUBIC), 6, dense=2) == {3: 1 - 0.5**3, 4: 1.0}


@pytest.mark.parametrize("values", [CUBIC, ITERATIVE, {"name": "one_shot"}])
def test_a_single_epoch_trains_the_final_network(values):
    assert plan_cuts(schedule(values), 1) == {0: 1.0}


@pytest.mark.parametrize("dense", [3, 4])
def test_sparse_training_must_leave_an_epoch_for_the_cuts(dense):
    with pytest.raises(ValueError, match=r"lower regularisation\.epochs"):
        plan_cuts(OneShot(), 3, dense)


@given(
    ratios=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=6).map(sorted),
    before=st.floats(1, 1e9),
)
def test_cuts_add_up_to_their_share_of_the_original(ratios, before):
    now = before
    for ratio in ratios:
        now *= 1 - still_to_remove(ratio, before, now)
        assert now == pytest.approx((1 - ratio) * before, rel=1e-6)
    assert still_to_remove(ratios[0] / 2, before, now) == 0


@pytest.mark.parametrize("name", ["cubic", "iterative"])
@pytest.mark.parametrize(
    ("target", "measure", "tolerance"), [("macs", macs, 0.06), ("parameters", parameters, 0.06)]
)
def test_every_schedule_ends_at_the_target(toward, source, name, target, measure, tolerance):
    states = toward(target, name)
    shares = [share_of(measure, state, source) for state in states]
    assert shares[-1] == pytest.approx(0.5, abs=tolerance)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_each_cut_takes_its_part_of_the_original(tune, source):
    chosen = settings(target="macs", schedule=ITERATIVE)
    states = tune(chosen, changes={"epochs": 6})
    cuts = plan_cuts(chosen.schedule, 6)
    share = 0.0
    for epoch, state in enumerate(states):
        share = cuts.get(epoch, share)
        assert share_of(macs, state, source) == pytest.approx(1 - 0.5 * share, abs=0.06)


@pytest.mark.parametrize("round_to", [1, 4])
@pytest.mark.parametrize("values", [CUBIC, ITERATIVE])
def test_each_layer_ends_as_wide_as_one_cut_makes_it(tune, source, values, round_to):
    chosen = settings(scope="layer", ratio=0.6, round_to=round_to)
    last = tune(chosen.model_copy(update={"schedule": schedule(values)}))[-1]
    cut = prune_channels(source.build(), SPEC.input_shape, chosen, seed=0)
    assert widths(built(last)) == widths(cut)


def test_groups_with_ratios_of_their_own_end_at_them(tune):
    ratios = {"stages.0.0.conv1": 0.25, "stages.1.0.conv1": 0.75}
    chosen = settings(scope="layer", ratio=0.5, ratios=ratios, schedule=ITERATIVE)
    assert widths(built(tune(chosen)[-1])) | {"stem": 4} == {
        "stem": 4,
        "stages.0.0.conv1": 6,
        "stages.0.0.conv2": 4,
        "stages.1.0.conv1": 4,
        "stages.1.0.conv2": 8,
        "stages.1.0.shortcut.0": 8,
        "stages.2.0.conv1": 16,
        "stages.2.0.conv2": 16,
        "stages.2.0.shortcut.0": 16,
    }


def test_the_best_network_is_one_that_meets_the_target(toward):
    states = toward("macs", "cubic")
    final = {name: value.shape for name, value in states[-1].weights.items()}
    assert states[-1].best.details["best_epoch"] >= 3
    assert {name: value.shape for name, value in states[-1].best.weights.items()} == final


@pytest.fixture(
    scope="module",
    params=[
        {"schedule": CUBIC, "target": "macs"},
        {"schedule": ITERATIVE, "importance": "random"},
        {
            "schedule": ITERATIVE,
            "scope": "layer",
            "regularisation": {"penalty": "group_lasso", "strength": 1e-3, "epochs": 2},
        },
    ],
)
def run_through(request, tune):
    """A training that was not stopped: its settings and all its states."""
    chosen = settings(**request.param)
    return chosen, tune(chosen, changes=AVERAGED)


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_a_schedule_that_was_stopped_goes_on_to_the_same_bits(
    tune, tmp_path, run_through, stopped_after
):
    chosen, states = run_through
    whole, stopped = states[-1], states[stopped_after - 1]
    write_training_state(stopped, tmp_path / "state.safetensors")
    torch.manual_seed(9)
    stored = read_training_state(tmp_path / "state.safetensors")
    resumed = tune(chosen, resume=stored, changes=AVERAGED)[-1]
    for field in ("weights", "averaged", "objective"):
        assert equal(getattr(whole, field), getattr(resumed, field))
    assert equal(whole.best.weights, resumed.best.weights)


def test_sparse_training_comes_first_and_on_the_whole_network(tune, source):
    penalty = {"penalty": "bn_scale", "strength": 1e-9, "epochs": 2}
    states = tune(settings(target="macs", regularisation=penalty))
    shares = [share_of(macs, state, source) for state in states]
    assert shares[:2] == [1, 1]
    assert shares[2] == shares[3] == pytest.approx(0.5, abs=0.06)
    assert states[-1].best.details["best_epoch"] >= 3


def test_rounding_that_leaves_all_channels_leaves_the_optimiser_alone(tune):
    # Of 8, 16 and 32 channels a twentieth is less than half of 16.
    fine = Cubic(name="cubic", begin=0.0, end=1.0)
    chosen = settings(scope="layer", round_to=16, ratio=0.5).model_copy(update={"schedule": fine})
    changes = {"epochs": 8, "optimizer": {"name": "adamw", "learning_rate": 0.001}}
    states = tune(chosen, changes=changes)
    taken = [int(state.optimizer["state"][0]["step"]) // (96 // 32) for state in states]
    sizes = [parameters(built(state)) for state in states]
    assert len(set(sizes)) < len(plan_cuts(fine, 8)) + 1
    fresh = [index for index in range(1, 8) if taken[index] == 1]
    assert fresh == [index for index in range(1, 8) if sizes[index] < sizes[index - 1]]


def test_each_cut_looks_at_the_network_as_it_is_then(tune):
    seen = []

    def look(network: nn.Module) -> Evidence:
        seen.append(parameters(network))
        return Evidence()

    tune(settings(target="macs", schedule=ITERATIVE), evidence_for=look)
    assert len(seen) == len(plan_cuts(schedule(ITERATIVE), 4))
    assert seen == sorted(set(seen), reverse=True)


@pytest.mark.parametrize("values", [{"name": "one_shot"}, ITERATIVE])
def test_a_latency_target_is_a_share_of_the_sources_latency(tune, source, values):
    # A clock that is right and never disturbed.
    states = tune(settings(target="latency", schedule=values), latency=lambda net: macs(net) / 7)
    assert share_of(macs, states[-1], source) == pytest.approx(0.5, abs=0.06)


def test_the_log_says_what_each_cut_leaves(tune, caplog):
    with caplog.at_level(logging.INFO):
        tune(settings(target="macs", schedule=CUBIC))
    cuts = [line for line in caplog.messages if "it is cut to" in line]
    assert [line.split(" of ")[0] for line in cuts] == [
        "student: before epoch 2",
        "student: before epoch 3",
    ]


def test_a_ratio_that_removes_nothing_in_the_end_is_an_error(tune):
    with pytest.raises(ValueError, match="No channel was removed"):
        tune(settings(scope="layer", ratio=0.01, round_to=8, schedule=ITERATIVE))
