"""The rounds of an improvement, stage by stage; what is finished is not done again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from ..agent import loaded_model
from ..collection import Plan, collect
from ..collection.collecting import with_folders
from ..collection.estimating import estimate_environment
from ..environments import EnvironmentSpec, catalogue, get_spec
from ..errors import CheckpointError, DatasetError, LDMError, UnwritableError
from ..evaluation import EvaluationOptions, Results, Target, evaluate
from ..evaluation.evaluating import catalogue_target
from ..evaluation.scores import family_scores
from ..references import load_reference, method_of
from ..rollouts.returns import BAR, SELECTION_SEED, Scores
from ..training import Pretraining
from ..training.launching import sole_writer
from ..trajectories.mixture import gap_mixture
from ..trajectories.schema import EnvironmentInfo
from ..trajectories.streams import config_names
from ..trajectories.writer import stored
from ..utils.files import read_json, write_atomically
from ..utils.parallel import run_tasks
from .comparing import Comparison, compare
from .journal import Journal, Round
from .options import Improvement
from .picking import Standing, of_each_family, pick, shares, spread
from .report import draw_curve
from .retraining import recipe_of, train_elsewhere

logger = logging.getLogger(__name__)

COLLECTING = 0.3  # share of the time that is collected in; the rest is trained
LEAST_SHARE = 1 / 3  # of a round for collection and training, however long an evaluation takes
MOST_STEPS = 30_000  # in one environment and round
SECONDS_EACH = 10.0  # of one process; more environments than there is time for are not even estimated
FASTEST = 1000  # updates per second: more than any run makes, so that the clock ends it
WARM_UP = 0.03  # of a training


def improve(options: Improvement, on_round: Callable[[Round, Journal], object] = lambda one, journal: None) -> Journal:
    """Improves a model in rounds; continues what was interrupted, however it ended.

    A round collects steps of the best model so far where it lags behind the reference, each labelled with what the
    reference would have done (DAgger, Ross et al. 2011), trains that model on all of the dataset, and measures the
    result. The better of both weights stay, see `compare`. All are measured on seeds that serve for choosing only
    (`SELECTION_SEED`), so that `ldm evaluate` measures the chosen one on seeds that it was not chosen by.

    Args:
        options: what to improve, and for how long.
        on_round: receives each round and the journal when the round ends; those that had ended before, too.

    Returns:
        The journal; its ``best`` is the folder of the best model.

    Raises:
        ArgumentError: if the folder holds an improvement with other options.
        CheckpointError: if the model is none, or the journal is damaged.
        DatasetError: if an environment is not in the dataset, or the disk is full.
        LDMError: if an environment has no reference, or none can be measured.
    """
    folder = Path(options.output)
    journal = Journal(folder, options.fixed())
    options.check(journal.options)
    specs = _environments(options)
    loaded_model(options.model)  # if it is none, this says so
    with sole_writer(folder):
        journal.save()
        for number in range(options.rounds + 1):
            one = journal.round(number)
            if "kept" not in one:
                stage = _Stages(options, journal, one, specs)
                stage.measure_start() if number == 0 else stage.run()
            draw_curve(journal.rounds, folder / "curve.png")
            on_round(one, journal)
    return journal


def _environments(options: Improvement) -> list[EnvironmentSpec]:
    """The rows to improve in, all of which are in the dataset and have a reference."""
    folder = Path(options.dataset)
    if not folder.is_dir():
        raise DatasetError(
            f"{options.dataset} is no folder; `ldm collect --output {options.dataset}` makes a dataset there, and what "
            "is collected in the rounds is added to it."
        )
    there = config_names(folder)
    if options.names is None:
        rows = catalogue()  # a log of decisions is no environment that one could play in
        found = [rows[name] for name in there if name in rows and _has_reference(rows[name], options.references)]
        if not found:
            raise LDMError(f"no environment of {options.dataset} has a reference policy that could label steps")
        return found
    specs = [get_spec(name) for name in options.names]
    for spec in specs:
        if spec.name not in there:
            raise DatasetError(
                f"{spec.name} is not in {folder}; add it by `ldm collect --ids {spec.name} --output {folder}`."
            )
        if method_of(spec) in ("none", "rl"):
            load_reference(spec, options.references)  # what is missing, and how to make it
    return specs


def _has_reference(spec: EnvironmentSpec, folder: str) -> bool:
    """Whether there is a policy that could label steps: in the package, or among those that `ldm reference` found."""
    return method_of(spec) != "none" or (Path(folder) / spec.name).is_dir()


class _Stages:
    """The stages of one round. Each reads from the journal and the disk what was done before, and does the rest.

    Args:
        options: options of the improvement.
        journal: its journal.
        one: the round.
        specs: environments to improve in.
    """

    def __init__(self, options: Improvement, journal: Journal, one: Round, specs: list[EnvironmentSpec]) -> None:
        self.options, self.journal, self.one, self.specs = options, journal, one, specs
        self.model = journal.model_of(one["number"])
        self.judging = of_each_family(specs, options.per_family, options.seed)

    def measure_start(self) -> None:
        """Round 0: measures the model that the improvement starts from."""
        found = self._evaluate(self.options.model, self.journal.results_of(0))
        self._compare(found, found)
        self.one.update({"kept": True, "why": "the model that it starts from"})
        self.journal.save()

    def run(self) -> None:
        """A round: whichever of its stages are left."""
        if "targets" not in self.one:
            self._pick()
        if "collected" not in self.one:
            self._collect()
        if "trained" not in self.one:
            self._train()
        found = self._evaluate(str(self.model), self.journal.results_of(self.one["number"]))
        self._keep(found)

    def _best_results(self) -> Results:
        found: Results = read_json(self.journal.results_of(self.journal.best_number))
        return found

    def _scores(self) -> dict[str, float]:
        """Scores of the best model so far by name; what was not measured has those of its family, if any was."""
        entries = self._best_results()["environments"]
        return spread(self.specs, {name: entry["normalised"] for name, entry in entries.items()})

    def _evaluate(self, model: str, output: Path) -> Results:
        """Measures a model; random actions and references only where nobody has."""
        options, known = self.options, {}
        if self.one["number"]:
            known = _measured_here(read_json(self.journal.results_of(0)))
        find = partial(_target, dataset=options.dataset, known=known)
        how = EvaluationOptions(options.episodes, SELECTION_SEED)
        names = [spec.name for spec in self.judging]
        with self.journal.timed(self.one, "evaluate") as tick:
            found = evaluate(
                model, names, how, options.references, output=output, jobs=options.jobs, find=find, on_result=tick
            )
        for message in found.get("failures", {}).values():
            logger.warning("left out: %s", message)
        if not found["environments"]:
            raise LDMError(f"nothing could be measured: {next(iter(found.get('failures', {}).values()))}")
        return found

    def _left_minutes(self) -> float:
        """Minutes for collection and training: those of the round without its evaluation, as long as the last one."""
        evaluation = self.journal.rounds[self.one["number"] - 1]["minutes"]["evaluate"]
        return max(self.options.minutes - evaluation, LEAST_SHARE * self.options.minutes)

    def _pick(self) -> None:
        """Chooses where to collect how many steps of the best model so far."""
        options, one = self.options, self.one
        with self.journal.timed(one, "collect") as tick:
            scores = self._scores()
            standings = {
                spec.name: Standing(spec.name, spec.domain, spec.family, scores[spec.name], self._fruitless(spec.name))
                for spec in self.specs
                if spec.name in scores
            }
            seconds = COLLECTING * self._left_minutes() * 60 * options.jobs
            if options.steps is None:
                part = shares(list(standings.values()))
                chosen = sorted(part, key=lambda name: (-part[name], name))[: max(1, int(seconds / SECONDS_EACH))]
                standings = self._with_speeds({name: standings[name] for name in chosen})
                tick()  # whatever the estimates took, half of the time is for collecting
                seconds = max(seconds / 2, seconds - one["minutes"]["collect"] * 60 * options.jobs)
            one["picked"] = pick(list(standings.values()), seconds, MOST_STEPS, options.steps)
            one["targets"] = {
                name: stored(Path(options.dataset) / name)[1] + steps for name, steps in one["picked"].items()
            }
        logger.info("round %d collects in %d environments", one["number"], len(one["picked"]))

    def _fruitless(self, name: str) -> int:
        """In how many rounds on end, the last one included, steps of this environment did not win anything there."""
        count = 0
        for before in reversed(self.journal.rounds[1:-1]):
            if name not in before.get("picked", {}):
                continue
            if name in before["won"] or before["kept"]:
                break
            count += 1
        return count

    def _with_speeds(self, standings: dict[str, Standing]) -> dict[str, Standing]:
        """Measures what steps cost, unless a round has; environments in which that fails are left out."""
        options, speeds = self.options, self.one.setdefault("speeds", {})
        for before in self.journal.rounds:
            speeds |= {name: speed for name, speed in before.get("speeds", {}).items() if name in standings}
        plan = self._plan({name: stored(Path(options.dataset) / name)[1] + MOST_STEPS for name in standings})
        tasks = {name: (get_spec(name), plan) for name in standings if name not in speeds}
        work = partial(with_folders, estimate_environment)
        for name, outcome in run_tasks(work, tasks, options.jobs, shared=plan.shared, own=plan.own):
            if isinstance(outcome, LDMError):
                self.one.setdefault("failures", {})[name] = str(outcome)
                logger.warning("left out: %s", outcome)
            else:
                speeds[name] = [round(outcome.seconds_to_make, 4), round(outcome.steps_per_second, 2)]
                self.journal.save()
        return {
            name: Standing(s.name, s.domain, s.family, s.score, s.fruitless, *speeds[name])
            for name, s in standings.items()
            if name in speeds
        }

    def _plan(self, targets: dict[str, int]) -> Plan:
        options = self.options
        return Plan(
            str(Path(options.dataset).absolute()),
            str(Path(options.references).absolute()),
            student=self.journal.best,
            mix=options.mix,
            targets=targets,
        )

    def _collect(self) -> None:
        """Lets the best model so far act where it lags, and the references label what it does."""
        one = self.one
        specs = [get_spec(name) for name in one["targets"]]
        with self.journal.timed(one, "collect"):
            failures = collect(specs, self._plan(one["targets"]), self.options.jobs) if specs else {}
            for error in failures.values():
                if isinstance(error, DatasetError | UnwritableError | CheckpointError):
                    raise error  # not the environment's fault: no other will fare better
            if failures:
                one["failures"] = one.get("failures", {}) | {name: str(error) for name, error in failures.items()}
            one["collected"] = sum(one["picked"][name] for name in one["targets"] if name not in failures)

    def _train(self) -> None:
        """Trains the best model so far on a mixture of the dataset, in a process of its own."""
        options, one, mixture = self.options, self.one, self.journal.folder_of(self.one["number"]) / "mixture.yaml"
        if "updates" not in one:
            left = self._left_minutes()
            limit = max(left - one["minutes"].get("collect", 0.0), left / 2)
            one["updates"] = options.updates or max(1, int(60 * limit * FASTEST))
            one["limit"] = None if options.updates else round(limit, 3)
            self._mix(mixture)
            self.journal.save()
        run = Pretraining(
            dataset=str(mixture),
            output_dir=str(self.model),
            model=self.journal.best,
            max_steps=one["updates"],
            max_minutes=one["limit"],
            warmup_steps=int(WARM_UP * one["updates"]),
            learning_rate=options.learning_rate,
            batch_size=options.batch_size,
            seed=options.seed + one["number"],
            checkpointing_steps=200,
            resume_from_checkpoint="latest",
            **recipe_of(self.journal.best),
        )
        with self.journal.timed(one, "train"):
            train_elsewhere(run, options.jobs)
        summary = read_json(self.model / "training.json")
        # that of processes that were killed, too
        one["minutes"]["train"] = max(one["minutes"]["train"], round(summary["minutes"], 4))
        one["trained"] = int(summary["steps"])
        self.journal.save()

    def _mix(self, path: Path) -> None:
        """Writes the mixture: the further behind, the more often, while what is won keeps its share."""
        # what is not measured is kept as if it were won
        scores = dict.fromkeys(config_names(Path(self.options.dataset)), 1.0) | self._scores()
        told = {name: {"normalised": score} for name, score in scores.items()}
        mixed = gap_mixture(
            Path(self.options.dataset).absolute(), {"environments": told}, won_share=self.options.won_share
        )
        write_atomically(path, yaml.safe_dump(mixed, sort_keys=False))

    def _keep(self, found: Results) -> None:
        """Decides whether the new weights are better, and ends the round."""
        result = self._compare(self._best_results(), found)
        self.one.update(
            {
                "kept": result.better,
                "why": result.why,
                "won": list(result.won),
                "lost": list(result.lost),
                "lost_beyond_noise": list(result.lost_beyond_noise),
            }
        )
        self.journal.save()

    def _compare(self, before: Results, after: Results) -> Comparison:
        """Compares two models, and notes their scores."""
        result = compare(before, after, self.options.seed)
        families = [family_scores(results["environments"]).values() for results in (before, after)]
        self.one.update(
            {
                "environments": len(after["environments"]),
                "at_80": list(result.at_80),
                "capped": list(result.capped),
                "families_at_80": [sum(score >= BAR for score in scores) for scores in families],
            }
        )
        return result


def _target(name: str, references_folder: str | Path, dataset: str, known: dict[str, Scores]) -> Target:
    """A row of the catalogue, measured against what the dataset or the catalogue knows of its reference.

    The scale needs not be of the seeds that the model is measured on.
    """
    target = catalogue_target(name, references_folder)
    scores = EnvironmentInfo.load(Path(dataset) / name).scores or target.scores or known.get(name, {})
    return Target(
        name, target.domain, target.task, target.make_env, target.make_reference, target.episodes, scores, False
    )


def _measured_here(results: Results) -> dict[str, Scores]:
    """Random actions and references that the first evaluation had to measure."""
    return {
        name: {label: {**entry[label]} for label in ("random", "reference")}
        for name, entry in results["environments"].items()
        if entry["reference"].get("seed") == SELECTION_SEED
    }
