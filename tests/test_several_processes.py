import logging

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.distillation.parameters import DistillationParameters
from model_compression.several_processes import (
    NotSharedError,
    SeveralProcesses,
    follows,
    refuse_what_is_not_shared,
    report_only_trouble,
    train_along,
)
from model_compression.training import ALONE, Team, current_team
from model_compression.training.processes import Place

TRAIN = Node(
    lambda images, parameters: None,
    ["images", "params:distillation"],
    ["state", "history"],
    name="train",
    tags="training",
)
OTHER = Node(lambda history: None, "history", "table", name="tabulate")


def catalog(finished: bool = False, **distillation) -> DataCatalog:
    parameters = DistillationParameters.model_validate(
        {
            "model": {"name": "resnet8"},
            "distillation": distillation,
            "training": {"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 0.1}},
        }
    )
    entries = {"params:distillation": MemoryDataset(parameters), "images": MemoryDataset(1)}
    if finished:
        entries["state"] = MemoryDataset("a finished training")
    return DataCatalog(entries)


def refuse(entries: DataCatalog, nodes=(TRAIN, OTHER), runner: str = "SequentialRunner") -> None:
    refuse_what_is_not_shared({"runner": runner}, Pipeline(list(nodes)), entries, 2)


@pytest.mark.parametrize("method", [{"method": "kd"}, {"method": "dist", "gamma": 0}])
def test_methods_that_look_at_each_image_by_itself_are_shared(method):
    refuse(catalog(**method))


@pytest.mark.parametrize("method", [{"method": "rkd"}, {"method": "dist"}])
def test_a_method_that_compares_images_is_refused_by_stage_and_name_with_what_to_do(method):
    with pytest.raises(NotSharedError, match=rf"train: {method['method']}.*without torchrun"):
        refuse(catalog(**method))


def test_what_is_finished_needs_no_sharing():
    refuse(catalog(finished=True, method="rkd"))


def test_processes_with_nothing_to_train_are_refused():
    with pytest.raises(NotSharedError, match="nothing that was asked for trains"):
        refuse(catalog(method="kd"), nodes=[OTHER])


@pytest.mark.parametrize("runner", ["ParallelRunner", "ThreadRunner"])
def test_nodes_side_by_side_are_refused(runner):
    with pytest.raises(NotSharedError, match="leave --runner out"):
        refuse(catalog(method="kd"), runner=f"<kedro.runner.{runner} object>")


def test_without_the_launcher_the_hook_does_nothing(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    hook = SeveralProcesses()
    hook.before_pipeline_run({}, Pipeline([OTHER]), DataCatalog())
    hook.before_dataset_loaded("history", TRAIN)
    assert current_team() is ALONE
    hook.after_pipeline_run()
    assert not follows()


class Heard(Team):
    """A team of two whose words are kept here."""

    def __init__(self) -> None:
        super().__init__(Place(0, 2, 0))
        self.said: list[tuple[str, str]] = []

    def say(self, word: str, content: str = "") -> None:
        self.said.append((word, content))


def test_the_leader_calls_once_a_training_and_shares_nothing_else():
    hook, team = SeveralProcesses(), Heard()
    hook._team = team
    for node, shared in ((TRAIN, team), (OTHER, ALONE), (TRAIN, team)):
        for name in node.inputs:
            hook.before_dataset_loaded(name, node)
        hook.before_node_run(node)
        assert current_team() is shared
    hook.on_pipeline_error()
    assert team.said == [("node/0", "train"), ("node/1", "train"), ("failed", "")]
    assert current_team() is ALONE


def test_a_follower_runs_the_whole_training_on_the_catalogs_inputs_and_saves_nothing():
    seen = []

    def train(images):
        for epoch in range(3):
            seen.append((images, epoch, current_team()))
            yield epoch, [epoch]

    team = Heard()
    entries = DataCatalog({"images": MemoryDataset("pictures")})
    train_along(team, Node(train, "images", ["state", "history"], name="train"), entries)
    assert seen == [("pictures", epoch, team) for epoch in range(3)]
    assert current_team() is ALONE
    assert not entries.exists("state")


def test_a_followers_log_holds_warnings_and_worse():
    loggers = [logging.getLogger(name) for name in ("kedro", "model_compression")]
    before = [each.level for each in loggers]
    try:
        report_only_trouble()
        assert not any(each.isEnabledFor(logging.INFO) for each in loggers)
        assert all(each.isEnabledFor(logging.WARNING) for each in loggers)
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)
