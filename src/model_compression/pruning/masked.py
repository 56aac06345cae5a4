"""Fine-tunes a network whose weights are masked, and masks more of them as the schedule says.

Knows masks, a schedule and the objective that it stands around; not what is learned.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model_compression.images import Batch
from model_compression.pruning.evidence import Evidence
from model_compression.pruning.masks import (
    MaskPruningSettings,
    apply_masks,
    choose_masks,
    prunable_weights,
    weight_masks,
    zero_dropped,
)
from model_compression.pruning.n_m import NMPruningSettings, n_m_masks, n_m_weights
from model_compression.pruning.schedules import Cubic, Iterative, OneShot, share_cut
from model_compression.training import LossOutput, Objective


def masked_weights(
    module: nn.Module, settings: MaskPruningSettings | NMPruningSettings
) -> list[str]:
    """Names of the weights that get a mask.

    Raises:
        ValueError: If an excluded path leads nowhere, or if there are none.
    """
    if isinstance(settings, NMPruningSettings):
        return list(n_m_weights(module, settings))
    return list(prunable_weights(module, settings.excluded))


def is_due(
    schedule: OneShot | Iterative | Cubic, step: int, total_steps: int, update_every: int
) -> bool:
    """Whether weights are chosen after ``step`` steps, 0 being before the first.

    They are where more of them has to go than a step earlier; under a cubic schedule, where that is
    so at every step, only after each ``update_every`` steps and when it is complete.
    """
    now = share_cut(schedule, step / total_steps)
    earlier = share_cut(schedule, (step - 1) / total_steps) if step > 0 else 0.0
    if now <= earlier:
        return False
    return not isinstance(schedule, Cubic) or step % update_every == 0 or now == 1.0


class MaskedObjective(Objective):
    """Another objective, and the masks of the network that it trains.

    ``hold`` is the training's ``after_step``, ``hold_average`` its ``after_average``: with them, a
    dropped weight is exactly 0 after every step, whatever momentum and weight decay do.

    Masks only grow, so what was dropped stays so. ``movement`` alone (Sanh et al., NeurIPS 2020)
    takes weights back. Its score is the sum of -w · g over the steps, w being the value that a
    dropped weight had when it was dropped, and it comes back with that value. Until the first step
    all scores are 0, and magnitude decides. Evidence is what the network showed before the first
    step; later choices read it beside the weights as they are then.

    The masks, the movement's scores and values, and the number of steps done are buffers, so a
    training state holds them and a resumed training goes on with them.

    Args:
        inner: What is learned.
        module: The network that is trained; what goes before the first step goes here and now.
        settings: How much goes, when, and by which importance.
        total_steps: Of the whole training, which the schedule runs over.
        evidence: What the importance reads besides (``weight_importance.needs``).
        seed: Of the importance ``random``.

    Raises:
        ValueError: If the settings or the evidence don't fit the network.
    """

    steps: Tensor

    def __init__(
        self,
        inner: Objective,
        module: nn.Module,
        settings: MaskPruningSettings | NMPruningSettings,
        total_steps: int,
        evidence: Evidence | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if total_steps < 1:
            raise ValueError(
                f"A schedule needs at least one step to run over, got {total_steps}: raise the "
                "training's epochs."
            )
        self.inner = inner
        self.reads_logits_alone = inner.reads_logits_alone
        # In a tuple, lest it becomes a part of the objective: stored and optimised twice.
        self._module = (module,)
        self._settings = settings
        self._total_steps = total_steps
        self._evidence = evidence
        self._seed = seed
        self._names = tuple(masked_weights(module, settings))
        self._moves = settings.importance == "movement"
        self._schedule = OneShot() if isinstance(settings, NMPruningSettings) else settings.schedule
        self._mask_of = _with_other_names(module, self._names)
        self._seen: dict[str, Tensor] = {}
        self._done: int | None = 0
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        for name, weight in self._weights().items():
            self._put("mask", name, torch.ones_like(weight, dtype=torch.bool))
            if self._moves:
                self._put("score", name, torch.zeros_like(weight))
                self._put("dormant", name, torch.zeros_like(weight))
        self.register_load_state_dict_post_hook(_forget_count)  # type: ignore[no-untyped-call]
        self._choose_if_due(0)
        apply_masks(module, self.masks)

    @property
    def masks(self) -> dict[str, Tensor]:
        """By the weight's name, a bool tensor of its shape; True stays."""
        return self._all("mask")

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """The inner objective's loss."""
        if self._moves and self.training:
            # The gradient belongs to the weights as they are now, not to those after the update.
            self._seen = {name: weight.clone() for name, weight in self._weights().items()}
        return self.inner(batch, model)  # type: ignore[no-any-return]

    @torch.no_grad()
    def hold(self) -> None:
        """Counts a step, drops what the schedule says, and sets all that is dropped to 0."""
        step = self._steps_done() + 1
        self._done = step
        self.steps.fill_(step)
        if self._moves:
            self._follow_movement()
        self._choose_if_due(step)
        apply_masks(self._module[0], self.masks)

    def hold_average(self, averaged: Mapping[str, Tensor]) -> None:
        """Sets the dropped weights of a moving average to 0, in place, under all their names."""
        masks = self.masks
        zero_dropped(averaged, {name: masks[same] for name, same in self._mask_of.items()})

    def _choose_if_due(self, step: int) -> None:
        settings = self._settings
        if isinstance(settings, NMPruningSettings):
            if step == 0:
                masks = n_m_masks(self._module[0], settings, self._evidence, self._seed)
                self._replace(masks)
            return
        if not is_due(self._schedule, step, self._total_steps, settings.update_every):
            return
        share = share_cut(self._schedule, step / self._total_steps)
        if self._moves:
            values = self._with_dormant(self._weights())
            sizes = {name: value.abs() for name, value in values.items()}
            masks = choose_masks(self._all("score"), settings, share, ties=sizes)
            self._exchange(values, masks)
        else:
            masks = weight_masks(
                self._module[0], settings, self._evidence, self._seed, share, self.masks
            )
        self._replace(masks)

    def _follow_movement(self) -> None:
        if not self._seen:
            return
        values = self._with_dormant(self._seen)
        self._seen = {}
        for name, score in self._all("score").items():
            gradient = self._module[0].get_parameter(name).grad
            if gradient is not None:
                score.sub_(values[name] * gradient)

    def _with_dormant(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights, with the values that the dropped ones had."""
        masks, dormant = self.masks, self._all("dormant")
        return {name: torch.where(masks[name], weights[name], dormant[name]) for name in masks}

    def _exchange(self, values: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Lays the values of weights that go aside, and gives those that come back theirs."""
        for name, dormant in self._all("dormant").items():
            dormant.copy_(values[name].masked_fill(masks[name], 0.0))
            self._module[0].get_parameter(name).detach().copy_(values[name])

    def _replace(self, masks: Mapping[str, Tensor]) -> None:
        for name, mask in self.masks.items():
            mask.copy_(masks[name])

    def _weights(self) -> dict[str, Tensor]:
        return {name: self._module[0].get_parameter(name).detach() for name in self._names}

    def _steps_done(self) -> int:
        # Reading a buffer waits for the device, so it is done once after a state was loaded.
        if self._done is None:
            self._done = int(self.steps)
        return self._done

    def _all(self, kind: str) -> dict[str, Tensor]:
        return {name: getattr(self, _buffer(kind, name)) for name in self._names}

    def _put(self, kind: str, name: str, tensor: Tensor) -> None:
        self.register_buffer(_buffer(kind, name), tensor)


def _with_other_names(module: nn.Module, names: tuple[str, ...]) -> dict[str, str]:
    """By each name that a weight has in the network's state, the one of ``names``."""
    everywhere = dict(module.named_parameters(remove_duplicate=False))
    name_of = {id(everywhere[name]): name for name in names}
    return {
        name: name_of[id(parameter)]
        for name, parameter in everywhere.items()
        if id(parameter) in name_of
    }


def _buffer(kind: str, name: str) -> str:
    # A buffer's name has no dots.
    return f"{kind}/{name.replace('.', '/')}"


def _forget_count(objective: nn.Module, _: object) -> None:
    assert isinstance(objective, MaskedObjective)
    objective._done = None
