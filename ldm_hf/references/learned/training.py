"""Trains a reference policy with Stable-Baselines3 (Raffin et al. 2021).

Several configurations compete by asynchronous successive halving (Li et al. 2020) as implemented by Optuna (Akiba et
al. 2019): after one, two, four ... slices of the budget, a configuration continues if it is among the better half of
those that came as far.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from ...environments import EnvironmentSpec, make
from ...environments.building import Kwargs
from ...environments.making import opened, quiet
from ...errors import MissingExtraError
from ...rollouts import ReferencePolicy
from ...rollouts.measuring import rollout
from ...rollouts.returns import SELECTION_SEED
from ...utils.files import LARGEST, check_writable
from ..records import TrainingRecord, Trial
from .algorithms import Configuration, check_configuration, configurations, trainer_of, vary
from .ars import LinearSearch
from .distilling import Distillation
from .learners import Descent, Learner
from .policy import ReinforcementLearned, amend_record, training_record
from .sbx import JaxDescent
from .spaces import Adapter
from .states import STATES, reading

if TYPE_CHECKING:
    import optuna

CONFIGURATIONS = 5
SLICES = 8  # slices of a configuration that is never stopped
SHARE = (
    2 * SLICES
)  # one slice gets this part of the budget: enough for a whole configuration and the starts of the others
PATIENCE = 4  # slices of a configuration without a better policy
EVALUATION_EPISODES = 10
JOURNAL = "study.log"


def train_reference(
    spec: EnvironmentSpec,
    folder: str | Path,
    budget: float = 120.0,
    seed: int = 0,
    force: bool = False,
    learning: Kwargs | None = None,
) -> TrainingRecord:
    """Trains a policy for one environment within a budget and keeps the best one; continues an interrupted training.

    Args:
        spec: row of the catalogue. Its ``reference_kwargs``, if its ``reference`` is ``rl``, are the first
            configuration; ``seconds`` among them limits the budget, ``target`` is a mean return that is enough.
        folder: folder of all policies; this one goes into a sub-folder.
        budget: seconds, evaluations included.
        seed: seed of the training.
        force: train again, even if the policy exists.
        learning: more of the same, which replaces the row's; ``algorithm`` is the only one to learn by.

    Returns:
        How the policy came about.

    Raises:
        MissingExtraError: without Stable-Baselines3, sb3-contrib or Optuna.
        UnsupportedSpaceError: if no algorithm fits the spaces.
        EnvironmentFailure: if the environment raises an error.
        CheckpointError: if the journal of an interrupted training is damaged.
    """
    place = Path(folder) / spec.name
    journal, done = place / JOURNAL, training_record(place)
    if force:
        for left in (JOURNAL, *STATES):
            (place / left).unlink(missing_ok=True)
    elif done and not journal.exists():
        return done
    chosen = dict(spec.reference_kwargs) if spec.reference == "rl" else {}
    chosen |= learning or {}
    budget, target = min(budget, float(chosen.pop("seconds", budget))), chosen.pop("target", None)
    trainer_of("ppo")
    with opened(spec) as env:
        adapter = Adapter(env.observation_space, env.action_space)
        target = getattr(env.spec, "reward_threshold", None) if target is None else target
        fixed = configurations(adapter, chosen)
        study = open_study(spec.name, journal)
        study.sampler = _optuna().samplers.RandomSampler(seed + len(study.trials))  # a resumed study samples others
        competition = _Competition(spec, place, adapter, env, fixed, budget, target, seed, study)
        competition.run()
    journal.unlink()
    for left in STATES:
        (place / left).unlink(missing_ok=True)
    record = training_record(place)
    assert record is not None  # the first evaluation of the first configuration has saved one
    return record


def open_study(name: str, journal: Path) -> optuna.study.Study:
    """The competition in a journal, begun if there is none; its configurations are checked before they are used.

    Raises:
        CheckpointError: if the journal is damaged.
        LDMError: if it cannot be written.
        MissingExtraError: without Optuna.
    """
    library = _optuna()
    check_writable(journal)
    with reading(journal):  # Optuna raises whatever a damaged journal makes it raise
        if journal.exists() and journal.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        study: optuna.study.Study = library.create_study(
            study_name=name,
            storage=library.storages.JournalStorage(library.storages.journal.JournalFileBackend(str(journal))),
            load_if_exists=True,
            direction="maximize",
            pruner=library.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
        )
        if study.directions != [library.study.StudyDirection.MAXIMIZE]:
            raise ValueError("it does not look for the highest score")
        for trial in study.trials:
            _check_trial(trial)
        return study


def _check_trial(trial: optuna.trial.FrozenTrial) -> None:
    """Raises a `ValueError` or the like unless what was recorded of a trial can be used."""
    configuration, seconds = trial.user_attrs.get("configuration"), trial.user_attrs.get("seconds", 0.0)
    values = [seconds, *trial.intermediate_values.values(), *(trial.values or ())]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values) or seconds < 0:
        raise ValueError(f"trial {trial.number} has impossible numbers")
    complete = trial.state.name == "COMPLETE"  # others learn from it
    if complete and len(trial.values or ()) != 1:
        raise ValueError(f"trial {trial.number} has no score")
    if complete and configuration is None:
        raise ValueError(f"trial {trial.number} has no configuration")
    if configuration is not None:
        check_configuration(configuration)


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("optuna", extra="reference") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("optuna").setLevel(logging.ERROR)
    return optuna


class _Competition:
    """Trains the configurations of one environment, one after the other.

    Its state is the study in the journal and the policy that was saved last.

    Args:
        spec: row of the catalogue.
        place: folder of the policy.
        adapter: adapter of the environment.
        env: environment with the spaces of the policy.
        fixed: configurations to train first.
        budget: seconds, evaluations included.
        target: mean return that is enough; None if there is none.
        seed: seed of the training.
        study: Optuna study.
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        place: Path,
        adapter: Adapter,
        env: gymnasium.Env,
        fixed: list[Configuration],
        budget: float,
        target: float | None,
        seed: int,
        study: optuna.study.Study,
    ) -> None:
        self.spec, self.place, self.adapter, self.env = spec, place, adapter, env
        self.fixed, self.budget, self.target, self.seed, self.study = fixed, budget, target, seed, study
        # a planner's labels take most of the time, and are not to be made for several configurations
        self.alone = fixed[0]["algorithm"] == "distilled"
        self.slice = budget / (SLICES if self.alone else SHARE)
        self.best = -np.inf
        if study.trials and (saved := training_record(place)):
            self.best = saved["score"]  # the policy from before the interruption

    @property
    def spent(self) -> float:
        """Seconds of all configurations so far."""
        seconds: float = sum(trial.user_attrs.get("seconds", 0.0) for trial in self.study.trials)
        return seconds

    @property
    def enough(self) -> bool:
        """Whether the target is reached."""
        return self.target is not None and self.best >= self.target

    def run(self) -> None:
        """Lets configurations compete until the target is reached, the budget is spent, or none is left."""
        import optuna

        ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        while not self.enough and self.spent < self.budget:
            number = len(self.study.get_trials(states=ended))
            if number == (1 if self.alone else CONFIGURATIONS):
                break
            trial = self.study.ask()
            if number < len(self.fixed):
                configuration = self.fixed[number]
            else:
                configuration = vary(trial, self.study.best_trial.user_attrs["configuration"])
            trial.set_user_attr("configuration", configuration)
            state = optuna.trial.TrialState
            value, stopped = self._train(trial, configuration)
            self.study.tell(trial, None if stopped else value, state.PRUNED if stopped else state.COMPLETE)
        amend_record(self.place, {"seconds": round(self.spent, 1), "configurations": self._trials()})

    def _train(self, trial: optuna.Trial, configuration: Configuration) -> tuple[float, bool]:
        """The best mean return of one configuration, and whether it was stopped because others are better."""
        with quiet():
            learner = self._learner(trial.number, configuration)
        best, since = -np.inf, 0
        try:
            for part in range(1, SLICES + 1):
                started = time.monotonic()
                with quiet():
                    while time.monotonic() - started < self.slice:
                        learner.learn()
                    reference = learner.reference()
                    score = self._evaluate(reference)
                spent = trial.user_attrs.get("seconds", 0.0) + time.monotonic() - started
                trial.set_user_attr("seconds", round(spent, 1))
                trial.report(score, part)
                since = 0 if score > best else since + 1
                best = max(best, score)
                if score > self.best:
                    self.best = score
                    self._save(reference, learner.steps, configuration, score)
                if self.enough or self.spent >= self.budget or since >= PATIENCE:
                    break
                if trial.should_prune():
                    return best, True
        finally:
            learner.close()
        return best, False

    def _learner(self, number: int, configuration: Configuration) -> Learner:
        if configuration["algorithm"] == "ars":  # goes on where the one before ended
            return LinearSearch.begin(self.spec, self.adapter, configuration, self.seed, self.place)
        if configuration["algorithm"] == "distilled":
            return Distillation(self.spec, self.adapter, configuration, self.seed, self.place)
        learns = JaxDescent if configuration["algorithm"].startswith("sbx-") else Descent
        return learns(self.spec, self.adapter, configuration, self.seed + number)

    def _evaluate(self, reference: ReinforcementLearned) -> float:
        """Mean return of the deterministic policy."""
        policy = ReferencePolicy(lambda: reference)
        returns = rollout(
            lambda: make(self.spec), policy, EVALUATION_EPISODES, SELECTION_SEED, num_envs=1, name=self.spec.name
        )
        return float(returns.mean())

    def _save(self, reference: ReinforcementLearned, steps: int, configuration: Configuration, score: float) -> None:
        record: TrainingRecord = {
            "method": "rl",
            "algorithm": configuration["algorithm"].upper(),
            "seconds": round(self.spent, 1),
            "steps": steps,
            "score": score,
            "hyperparameters": {key: value for key, value in configuration.items() if key != "algorithm"},
            "seed": self.seed,
        }
        reference.save(self.place, self.env, configuration["net_arch"], record)

    def _trials(self) -> list[Trial]:
        return [
            {
                "hyperparameters": trial.user_attrs.get("configuration"),
                "seconds": trial.user_attrs.get("seconds", 0.0),
                "scores": [float(f"{value:.5g}") for value in trial.intermediate_values.values()],  # one a slice
            }
            for trial in self.study.trials
        ]
