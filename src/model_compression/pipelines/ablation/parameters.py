"""Which subsets of the flow's steps there are, and how each shares one budget of epochs."""

from itertools import product
from typing import NamedTuple, Self, TypeVar

from pydantic import PositiveInt, ValidationError, model_validator

from model_compression.distillation import LabelsOnly
from model_compression.parameters import Parameters
from model_compression.pipelines.distillation.parameters import DistillationParameters
from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pipelines.quantization.parameters import QuantizationParameters
from model_compression.pipelines.stage.parameters import LearningParameters
from model_compression.pipelines.trials import Run, Seeds
from model_compression.quantization import QatSettings

P = TypeVar("P", bound=LearningParameters)


class Subset(NamedTuple):
    """Which of the three steps a trial has."""

    distillation: bool
    pruning: bool
    quantization: bool

    @property
    def steps(self) -> list[str]:
        """The steps that it has, in the flow's order."""
        return [step for step, has in self._asdict().items() if has]

    @property
    def name(self) -> str:
        """What the trial is called; ``plain`` has none of the steps."""
        return "-".join(self.steps) or "plain"


SUBSETS = tuple(
    sorted(
        (Subset(*has) for has in product((True, False), repeat=3)), key=lambda has: len(has.steps)
    )
)
"""All eight, from none of the steps to all of them."""


class AblationParameters(Parameters):
    """Every subset of the flow's steps under the same budget."""

    seeds: Seeds
    """Each subset is trained once with each of these, in place of the groups' own."""
    epochs: PositiveInt | None = None
    """Of every trial in total; ``null``: what the steps have together."""
    distillation: DistillationParameters | None = None
    """``null``: as the flow's group ``distillation``; likewise the next two."""
    pruning: PruningParameters | None = None
    quantization: QuantizationParameters | None = None

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"the seeds repeat: {self.seeds}")
        return self

    def runs(self) -> list[tuple[Subset, Run]]:
        """Every run, seed by seed, so that the first seed's comparison is there first."""
        return [(subset, Run(subset.name, seed)) for seed in self.seeds for subset in SUBSETS]


class Steps(NamedTuple):
    """The parameters of a trial's trainings, one after the other; ``None`` is left out."""

    student: DistillationParameters
    pruned: PruningParameters | None
    quantized: QuantizationParameters | None

    def parameters(self) -> dict[str, dict[str, object]]:
        """Plain values, by the stage that they make."""
        return {
            stage: step.model_dump(mode="json")
            for stage, step in self._asdict().items()
            if step is not None
        }

    def epochs(self) -> dict[str, int]:
        """Epochs of the optimiser, by stage."""
        return {
            stage: trained_epochs(step)
            for stage, step in self._asdict().items()
            if step is not None
        }


def trained_epochs(step: LearningParameters) -> int:
    """Epochs that an optimiser runs in a step; none where it quantizes after training."""
    if isinstance(step, QuantizationParameters) and not isinstance(step.quantization, QatSettings):
        return 0
    return step.training.epochs


class Flow(NamedTuple):
    """The settings of the three steps, and the budget of every trial."""

    distillation: DistillationParameters
    pruning: PruningParameters
    quantization: QuantizationParameters
    epochs: int

    @classmethod
    def of(
        cls,
        parameters: AblationParameters,
        distillation: DistillationParameters,
        pruning: PruningParameters,
        quantization: QuantizationParameters,
    ) -> Self:
        """The flow's groups, where the ablation has none of its own.

        Raises:
            ValueError: If nothing would be distilled, or a budget leaves the student too little.
        """
        steps = (
            parameters.distillation or distillation,
            parameters.pruning or pruning,
            parameters.quantization or quantization,
        )
        if steps[0].distillation.method == "none":
            raise ValueError(
                "ablation: distillation.distillation.method is none, so trials with and without "
                "distillation would be the same: choose a method, such as kd, in the group "
                "distillation or in ablation.distillation"
            )
        flow = cls(*steps, parameters.epochs or sum(map(trained_epochs, steps)))
        # The trial with the most steps leaves its student the least.
        for subset in reversed(SUBSETS):
            flow.steps(subset, seed=0)
        return flow

    def steps(self, subset: Subset, seed: int) -> Steps:
        """The trainings of one trial.

        A step that the subset has gets the epochs of its group; the student gets what is left of
        the budget. Without distillation, every step learns from the labels alone.

        Raises:
            ValueError: If too little is left for the student.
        """
        has_teacher = subset.distillation
        pruned = _with(self.pruning, has_teacher, seed) if subset.pruning else None
        quantized = _with(self.quantization, has_teacher, seed) if subset.quantization else None
        later = [step for step in (pruned, quantized) if step is not None]
        left = self.epochs - sum(map(trained_epochs, later))
        try:
            student = _with(self.distillation, has_teacher, seed, left)
        except ValidationError as error:
            reasons = "; ".join(str(each["msg"]) for each in error.errors())
            raise ValueError(
                f"ablation: {self.epochs} epochs in all leave {left} for the student of the trial "
                f"{subset.name} ({reasons}): raise ablation.epochs, or lower the epochs of pruning "
                "and quantization"
            ) from error
        return Steps(student, pruned, quantized)


def _with(step: P, distils: bool, seed: int, epochs: int | None = None) -> P:
    """The step with a seed, and perhaps without a teacher or with other epochs; checked again."""
    values = step.model_dump()
    values["training"] |= {"seed": seed} | ({} if epochs is None else {"epochs": epochs})
    if not distils:
        values |= {"distillation": LabelsOnly(method="none").model_dump(), "more_teachers": None}
    return type(step).model_validate(values)
