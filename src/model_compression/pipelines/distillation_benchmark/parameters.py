"""Which trials there are, what sets them apart, and which learn from which."""

import difflib
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, StringConstraints, field_validator, model_validator

from model_compression.distillation import Combination, DistillationMethod
from model_compression.models import ModelSettings
from model_compression.parameters import Parameters
from model_compression.pipelines.trials import Run, Seeds
from model_compression.training import TrainingSettings

TEACHER = "teacher"
"""What the project's teacher is called among the trials."""

# Names of files, also where the file system doesn't tell upper from lower case.
TrialName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Trial(Parameters):
    """One way to train the student; what it leaves out is as in the group."""

    distillation: DistillationMethod
    model: ModelSettings | None = None
    """The student; ``null``: the group's."""
    teachers: list[str] = Field(default=[TEACHER], min_length=1)
    """``teacher``, the project's own, or names of other trials: their checkpoint of the same seed,
    or of their only one."""
    combine: Combination | None = None
    """How several teachers answer as one."""
    views: PositiveInt | Literal["live"] | None = None
    """Of each image; ``null``: as the training's augmentation says."""
    seeds: Seeds | None = None
    """``null``: the group's."""
    control: str | None = None
    """The trial that its gain is measured against, seed by seed; ``null``: the group's."""

    @property
    def asked(self) -> list[str]:
        """The teachers, none where the method asks none."""
        return self.teachers if self.distillation.asks_teacher else []

    @model_validator(mode="after")
    def _several_teachers_are_combined(self) -> Self:
        if len(self.teachers) > 1 and self.combine is None:
            raise ValueError(
                f"{len(self.teachers)} teachers need to be combined: set combine to average or "
                "confidence, or name one teacher"
            )
        if self.combine is not None and not self.distillation.asks_several:
            raise ValueError(
                f"{self.distillation.method} can't learn from several teachers: take a method that "
                "learns from logits (kd, dkd, dist, mlkd), or name one teacher"
            )
        if not self.distillation.asks_teacher and self.teachers != [TEACHER]:
            raise ValueError(
                f"{self.distillation.method} asks no teacher, but teachers names "
                f"{', '.join(self.teachers)}: leave it out"
            )
        if len(self.teachers) == 1 and self.combine is not None:
            raise ValueError(
                f"combine is {self.combine!r}, but there is only the teacher {self.teachers[0]!r}: "
                "name several, or leave combine out"
            )
        return self


class Recipe(Parameters):
    """All the parameters that one run's weights depend on; a result is reused while they stay."""

    model: ModelSettings
    distillation: DistillationMethod
    combine: Combination | None
    training: TrainingSettings


class BenchmarkParameters(Parameters):
    """Several ways to train one student under the same budget, each with several seeds."""

    model: ModelSettings
    """The student."""
    seeds: Seeds
    """Each trial is trained once with each of these."""
    control: str
    """The trial that the others' gains are measured against."""
    only: Annotated[list[str], Field(min_length=1)] | None = None
    """The trials that are run, with those that they learn from and are compared with; ``null``:
    all."""
    training: TrainingSettings
    """Of every trial; its seed is replaced by each of ``seeds``."""
    trials: Annotated[dict[TrialName, Trial], Field(min_length=1)]

    @field_validator("trials")
    @classmethod
    def _teacher_is_not_a_trial(cls, trials: dict[str, Trial]) -> dict[str, Trial]:
        if TEACHER in trials:
            raise ValueError(f"{TEACHER!r} is the project's teacher: call the trial otherwise")
        return trials

    @model_validator(mode="after")
    def _trials_fit_together(self) -> Self:
        for name in [self.control, *(self.only or [])]:
            self._require(name, "the group")
        for name, trial in self.trials.items():
            self._require(self.control_of(name), f"trial {name!r}")
            for teacher in trial.teachers:
                self._require(teacher, f"trial {name!r}", also=[TEACHER])
            if trial.views is not None and self.training.augmentation is None:
                raise ValueError(
                    f"trial {name!r} sets views, but the training has no augmentation to make "
                    "views with: leave views out, or set training.augmentation"
                )
        self._refuse_circles()
        for name in self.trials:
            seeds = self.seeds_of(name)
            if len(set(seeds)) != len(seeds):
                raise ValueError(f"the seeds of trial {name!r} repeat: {seeds}")
            for seed in seeds:
                self.teachers_of(Run(name, seed))
        return self

    def chosen(self) -> list[str]:
        """The names of the trials that are run, in the order of the configuration."""
        wanted = list(self.trials if self.only is None else self.only)
        for name in wanted:
            needed = [*self.trials[name].teachers, self.control_of(name)]
            wanted += [other for other in needed if other not in (*wanted, TEACHER)]
        return [name for name in self.trials if name in wanted]

    def runs(self) -> list[Run]:
        """Every run, teachers before those that learn from them, otherwise seed by seed."""
        runs: dict[Run, None] = {}

        def add(run: Run) -> None:
            for teacher in self.teachers_of(run):
                if teacher is not None:
                    add(teacher)
            runs[run] = None

        chosen = self.chosen()
        seeds = dict.fromkeys(seed for name in chosen for seed in self.seeds_of(name))
        for seed in seeds:
            for name in chosen:
                if seed in self.seeds_of(name):
                    add(Run(name, seed))
        return list(runs)

    def seeds_of(self, name: str) -> list[int]:
        """A trial's own seeds or else the group's."""
        seeds = self.trials[name].seeds
        return self.seeds if seeds is None else seeds

    def control_of(self, name: str) -> str:
        """A trial's own control or else the group's."""
        return self.trials[name].control or self.control

    def teachers_of(self, run: Run) -> list[Run | None]:
        """What a run learns from, nothing for some methods; ``None`` is the project's teacher.

        Raises:
            ValueError: If a teacher is a trial that has several seeds, but not this one.
        """
        trial = self.trials[run.trial]
        if not trial.distillation.asks_teacher:
            return []
        return [None if name == TEACHER else self._as_teacher(name, run) for name in trial.teachers]

    def recipe(self, run: Run) -> Recipe:
        """The run's own parameters, with what the trial leaves out filled in."""
        trial = self.trials[run.trial]
        changes: dict[str, object] = {"seed": run.seed}
        augmentation = self.training.augmentation
        if trial.views is not None and augmentation is not None:
            changes["augmentation"] = augmentation.model_copy(update={"views": trial.views})
        return Recipe(
            model=trial.model or self.model,
            distillation=trial.distillation,
            combine=trial.combine,
            training=self.training.model_copy(update=changes),
        )

    def _as_teacher(self, name: str, run: Run) -> Run:
        seeds = self.seeds_of(name)
        if run.seed in seeds:
            return Run(name, run.seed)
        if len(seeds) == 1:
            return Run(name, seeds[0])
        raise ValueError(
            f"trial {run.trial!r} with seed {run.seed} learns from {name!r}, which has the seeds "
            f"{seeds}: give {name!r} this seed too, or a single one for all that learn from it"
        )

    def _require(self, name: str, who: str, also: Collection[str] = ()) -> None:
        known = [*also, *self.trials]
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(
                f"{who} names the trial {name!r}, which there is not{meant}; there are "
                f"{', '.join(known)}"
            )

    def _refuse_circles(self) -> None:
        graph = {name: set(trial.teachers) for name, trial in self.trials.items()}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = " → ".join(error.args[1])
            raise ValueError(
                f"trials can't teach each other in a circle: {circle}; begin with one that learns "
                f"from {TEACHER!r}"
            ) from error
