"""Narrows a network while it is trained: between epochs, a cut at a time, until the target is met.

Knows a schedule and the training loop; which channels go is ``channels``' business, what is learned
in between the objective's.
"""

import logging
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from model_compression.evaluation import count_macs, count_parameters
from model_compression.models import Checkpoint, build_with_weights
from model_compression.pruning.channels import ChannelPruningSettings, prune_channels
from model_compression.pruning.dependencies import channel_groups
from model_compression.pruning.evidence import Evidence
from model_compression.pruning.groups import ChannelGroup
from model_compression.pruning.regularisation import Regularised
from model_compression.pruning.schedules import Cubic, Iterative, OneShot, share_cut
from model_compression.training import Objective, Trainee

logger = logging.getLogger(__name__)


def plan_cuts(
    schedule: OneShot | Iterative | Cubic, epochs: int, dense: int = 0
) -> dict[int, float]:
    """Before which epochs, from 0, a network is cut, and how much of the whole cut is done then.

    A cut is made before an epoch if the schedule has gone on since the last one. What the schedule
    leaves for the last epoch's end is cut before that epoch, so that the target is always met and
    the last epoch trains the final network.

    Args:
        schedule: When how much goes.
        epochs: Of the whole training.
        dense: Epochs at its beginning that the schedule does not count; fewer than ``epochs``.

    Returns:
        Shares in (0, 1], growing; the last is 1.

    Raises:
        ValueError: If no epoch is left for the schedule.
    """
    if not 0 <= dense < epochs:
        raise ValueError(
            f"There are {epochs} epochs, {dense} of them before the first cut, and at least one "
            "must be left after it: raise training.epochs or lower regularisation.epochs."
        )
    cuts: dict[int, float] = {}
    last = 0.0
    for epoch in range(dense, epochs):
        share = share_cut(schedule, (epoch - dense) / (epochs - dense))
        if epoch == epochs - 1:
            share = 1.0
        if share > last:
            cuts[epoch] = last = share
    return cuts


def still_to_remove(ratio: float, before: float, now: float) -> float:
    """The share of what there is now that goes, so that ``ratio`` of what there was has gone.

    1 - (1 - ratio) · before / now; 0 where more has gone already.
    """
    return max(0.0, 1.0 - (1.0 - ratio) * before / now)


class Shrinking:
    """The trainings of one network that becomes narrower on its way.

    Every network that it gives to the loop is built from weights alone, so one that is cut and one
    that was stored after the cut and read again are the same, bit for bit.

    Args:
        source: The network before the first cut.
        settings: What is cut, by which schedule, and whether sparse training comes first.
        epochs: Of the whole training.
        seed: Of importances and objectives that leave something to chance.
        objective_for: Makes what a network is trained towards; called anew for every network, since
            projections have its layers' widths.
        evidence_for: Looks at training images through a network for importances that need it.
        latency: How long a network takes, in any unit, for the target ``latency``.

    Raises:
        ValueError: If sparse training leaves no epoch for the cuts.
    """

    def __init__(
        self,
        source: Checkpoint,
        settings: ChannelPruningSettings,
        epochs: int,
        seed: int,
        objective_for: Callable[[nn.Module], Objective],
        evidence_for: Callable[[nn.Module], Evidence | None] = lambda network: None,
        latency: Callable[[nn.Module], float] | None = None,
    ) -> None:
        self._source = source
        self._settings = settings
        self._epochs = epochs
        self._seed = seed
        self._objective_for = objective_for
        self._evidence_for = evidence_for
        self._latency = latency
        dense = settings.regularisation.epochs if settings.regularisation else 0
        self._cuts = plan_cuts(settings.schedule, epochs, dense)

    def begin(self) -> Trainee:
        """The source, after the cut before the first epoch if there is one.

        Raises:
            ValueError: If the settings don't fit the network.
        """
        network = self._source.build()
        if 0 in self._cuts:
            network = self._cut(network, 0)
        return self.fitted(network.state_dict())

    def fitted(self, weights: Mapping[str, Tensor]) -> Trainee:
        """A training of the network that is as wide as these weights, with these weights."""
        network = self._built(weights)
        torch.manual_seed(self._seed)
        objective = self._objective_for(network)
        if self._settings.regularisation is not None:
            # It is there to the end, though its penalty is not: a resumed training then finds the
            # names in the objective's state that an uninterrupted one has.
            objective = Regularised(
                objective, self._original, self._groups, self._settings.regularisation
            )
        return Trainee(network, objective, ready_from=max(self._cuts), reshape=self._next_after_cut)

    def _next_after_cut(self, epoch: int, model: nn.Module) -> Trainee | None:
        """What goes on in ``epoch``; ``None`` where nothing is cut or rounding leaves all."""
        if epoch == 0 or epoch not in self._cuts:
            return None
        network = self._built(model.state_dict())
        cut = self._cut(network, epoch)
        if _shapes(cut) == _shapes(network):
            return None
        return self.fitted(cut.state_dict())

    def _built(self, weights: Mapping[str, Tensor]) -> nn.Module:
        plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        return build_with_weights(self._source.spec, plain).eval()

    def _cut(self, network: nn.Module, epoch: int) -> nn.Module:
        """The network without what has to be gone when ``epoch`` begins."""
        shape = self._source.spec.input_shape
        share = self._cuts[epoch]
        settings, ratio = self._settings, None
        if share < 1 or _shapes(network) != _shapes(self._original):
            settings, ratio = self._cut_of_a_schedule(network, share)
            if ratio <= 0:
                return network
        cut = prune_channels(
            network,
            shape,
            settings,
            self._seed,
            evidence=self._evidence_for(network),
            ratio=ratio,
            latency=self._latency,
        )
        logger.info(
            "%s: before epoch %d of %d it is cut to %.1f %% of its multiply-accumulates and "
            "%.1f %% of its parameters",
            self._source.stage,
            epoch + 1,
            self._epochs,
            100 * count_macs(cut, shape) / count_macs(self._original, shape),
            100 * count_parameters(cut)[0] / count_parameters(self._original)[0],
        )
        return cut

    def _cut_of_a_schedule(
        self, network: nn.Module, share: float
    ) -> tuple[ChannelPruningSettings, float]:
        """Settings and ratio that bring a network, cut before or not, to this share of the cut.

        Where each group has a ratio of its own, it ends where one cut would have put it, whatever
        rounding made of the cuts before.
        """
        settings = self._settings
        if not settings.ratios and (settings.target, settings.scope) != ("channels", "layer"):
            before, now = self._cost(self._original), self._cost(network)
            return settings, still_to_remove(share * settings.ratio, before, now)
        before_units = {group.name: group.units for group in self._groups}
        ratios = {
            group.name: still_to_remove(
                share * settings.ratios.get(group.name, settings.ratio),
                before_units[group.name],
                group.units,
            )
            for group in self._groups_of(network)
        }
        changed = {"ratios": ratios}
        return settings.model_copy(update=changed), max(ratios.values(), default=0.0)

    def _cost(self, network: nn.Module) -> float:
        """What the target's ratio is a share of."""
        shape, target = self._source.spec.input_shape, self._settings.target
        if target == "macs":
            return count_macs(network, shape)
        if target == "parameters":
            return count_parameters(network)[0]
        if target == "latency":
            assert self._latency is not None
            return self._latency(network)
        return sum(group.units for group in self._groups_of(network))

    def _groups_of(self, network: nn.Module) -> list[ChannelGroup]:
        return channel_groups(network, self._source.spec.input_shape, self._settings.excluded)

    @cached_property
    def _original(self) -> nn.Module:
        return self._source.build()

    @cached_property
    def _groups(self) -> list[ChannelGroup]:
        return self._groups_of(self._original)


def _shapes(network: nn.Module) -> list[torch.Size]:
    return [tensor.shape for tensor in network.state_dict().values()]
