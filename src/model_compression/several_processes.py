"""Kedro's runs under PyTorch's elastic launcher: one run, whose trainings all processes share.

The first process runs the pipeline as always: it saves, tracks and reports. The others run no
pipeline. They wait for the first to come to a node that trains, read its inputs, and train along;
what they yield is thrown away, as it is the first one's. Knows Kedro and nodes; how a training is
shared is ``training.processes``' business.
"""

import logging
import sys
from typing import Any, NoReturn

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from model_compression.training import ALONE, Team, join, launched, share_with

logger = logging.getLogger(__name__)

TAG = "training"
"""Of the nodes whose trainings are shared: generators that train one network."""

NODE, ENDED, FAILED = "node", "ended", "failed"


class NotSharedError(ValueError):
    """Several processes can't do together what was asked for."""


def follows() -> bool:
    """Whether this process only trains along."""
    place = launched()
    return place is not None and not place.leads


def report_only_trouble() -> None:
    """Leaves what is said of a run to the first process."""
    for name in ("kedro", "model_compression"):
        logging.getLogger(name).setLevel(logging.WARNING)


class SeveralProcesses:
    """A hook; without the launcher it does nothing."""

    def __init__(self) -> None:
        self._team = ALONE
        self._node: str | None = None
        self._turns = 0

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Meets the other processes; in all but the first, this is where the run ends.

        Raises:
            NotSharedError: If there is nothing to share, or it can't be shared.
            SystemExit: In the others, once the first has ended.
        """
        place = launched()
        if place is None:
            return
        refuse_what_is_not_shared(run_params, pipeline, catalog, place.size)
        self._team = join(place)
        if not place.leads:
            follow(self._team, pipeline, catalog)
        logger.info(
            "%d processes share each batch of the trainings; all else is done by one of them",
            place.size,
        )

    @hook_impl(tryfirst=True)
    def before_dataset_loaded(self, dataset_name: str, node: Node) -> None:
        """Calls the others to a node that trains before its first input is read."""
        self._turn_to(node)

    @hook_impl(tryfirst=True)
    def before_node_run(self, node: Node) -> None:
        """Likewise, for a node without inputs."""
        self._turn_to(node)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Lets the others go."""
        self._end(ENDED)

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Lets the others go, without a word of their own."""
        self._end(FAILED)

    def _turn_to(self, node: Node) -> None:
        if self._team.size == 1 or node.name == self._node:
            return
        # A generator trains while its outputs are saved, so it lasts until the next node begins.
        self._node = node.name
        share_with(ALONE)
        if TAG in node.tags:
            self._team.say(f"{NODE}/{self._turns}", node.name)
            self._turns += 1
            share_with(self._team)

    def _end(self, word: str) -> None:
        team, self._team, self._node = self._team, ALONE, None
        share_with(ALONE)
        if team.size > 1:
            team.say(word)
            team.leave()


def refuse_what_is_not_shared(
    run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog, processes: int
) -> None:
    """Looks through what is going to run before it does.

    Raises:
        NotSharedError: If no node trains, nodes would run side by side, or a stage that is not
            finished is set to learn in a way that several processes can't share.
    """
    nodes = [node for node in pipeline.nodes if TAG in node.tags]
    if not nodes:
        raise NotSharedError(
            f"torchrun started {processes} processes to train together, but nothing that was asked "
            "for trains a stage (teacher, student, pruned, quantized): run it by the same command "
            "without torchrun"
        )
    runner = str(run_params.get("runner"))
    if "ParallelRunner" in runner or "ThreadRunner" in runner:
        raise NotSharedError(
            "Processes that train together go from node to node together: leave --runner out, as "
            "SequentialRunner alone does so"
        )
    for node in nodes:
        if catalog.exists(node.outputs[0]):
            continue  # finished, and reused unless something has changed
        for name in node.inputs:
            settings = catalog.load(name) if name.startswith("params:") else None
            reason = getattr(settings, "why_not_shared", lambda: None)()
            if reason is not None:
                raise NotSharedError(f"{node.name}: {reason}")


def follow(team: Team, pipeline: Pipeline, catalog: DataCatalog) -> NoReturn:
    """Trains along, node by node, until the first process has ended.

    Raises:
        SystemExit: Always, with 0 if all went well in the first process.
    """
    nodes = {node.name: node for node in pipeline.nodes}
    turn = 0
    while True:
        word, name = team.wait_for(f"{NODE}/{turn}", ENDED, FAILED)
        if word in (ENDED, FAILED):
            team.leave()
            sys.exit(0 if word == ENDED else 1)
        turn += 1
        try:
            train_along(team, nodes[name], catalog)
        except Exception:
            if team.heard(FAILED) is not None:
                sys.exit(1)  # the first process has said what was wrong
            raise


def train_along(team: Team, node: Node, catalog: DataCatalog) -> None:
    """Runs a node on what the catalog holds, and saves nothing."""
    inputs = {name: catalog.load(name) for name in node.inputs}
    share_with(team)
    try:
        # The outputs of a generator are streams of one training: it runs while they are read.
        for _ in zip(*node.run(inputs).values(), strict=False):
            pass
    finally:
        share_with(ALONE)
