"""Evaluates one pretrained model in many environments."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import gymnasium
import torch
from tqdm.auto import tqdm

from ..agent import loaded_model, make_agent
from ..environments import get_spec, make
from ..environments.specs import known_as, what_runs
from ..errors import DatasetError, LDMError
from ..modeling_ldm import LDMForActionPrediction
from ..processing_ldm import LDMProcessor
from ..references import Reference, known_scores, load_reference
from ..rollouts import AgentPolicy, Policy, RandomPolicy, ReferencePolicy, measurement, normalised_score
from ..rollouts.measuring import rollout
from ..rollouts.returns import HELD_OUT_SEED, Measurement, Scores
from ..trajectories.schema import EnvironmentInfo
from ..utils.files import check_writable, read_json, save_json
from ..utils.installed import versions
from ..utils.names import is_name
from ..utils.parallel import SILENT_SECONDS, Executor, in_this_process, note, run_tasks
from .scores import EnvironmentResult, Results, check_result, described, summarise

logger = logging.getLogger(__name__)

UNLIMITED = 30_000
"""Steps after which an episode without a time limit is ended: more than Atari's 27,000."""


@dataclass(frozen=True)
class Target:
    """An environment to evaluate in, its task text, and the policy that its scores are measured against.

    Args:
        name: Name in the catalogue, and in the processor if the model knows the environment.
        domain: Domain that its score is counted in.
        task: Task text for the model; empty if there is none.
        make_env: Makes one environment.
        make_reference: Makes its reference policy.
        episodes: Least number of episodes to measure with, where returns vary much.
        scores: Measurements of ``random`` and ``reference`` that are known already.
        same_seeds: Use these measurements only if they are of the seeds that the model is measured on.
    """

    name: str
    domain: str
    task: str
    make_env: Callable[[], gymnasium.Env]
    make_reference: Callable[[], Reference]
    episodes: int = 1
    scores: Scores = field(default_factory=dict)
    same_seeds: bool = True


Find = Callable[[str, str | Path], Target]
"""Finds an environment by its name, with trained references in a folder."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How each policy is measured: all that decides the scores besides the policy and the environment.

    Args:
        episodes: Episodes per policy; an environment whose returns vary much gets more.
        seed: Seed of the first episode; the default is far from the seeds of collected episodes.
        num_envs: Environments that the model plays in lock step.
        incognito: Withhold the name of the environment from the model. Observations are then standardised by running
            statistics instead of those of the training data, as in an environment that the model does not know.
    """

    episodes: int = 20
    seed: int = HELD_OUT_SEED
    num_envs: int = 10
    incognito: bool = False


def catalogue_target(name: str, references_folder: str | Path) -> Target:
    """The catalogue's environment ``name`` with its reference policy.

    Raises:
        UnknownEnvironmentError: if there is none of this name.
    """
    spec = get_spec(name)
    return Target(
        name=name,
        domain=spec.domain,
        task=spec.task or "",
        make_env=lambda: finite(make(spec)),
        make_reference=lambda: load_reference(spec, Path(references_folder)),
        episodes=spec.episodes,
        scores=known_scores(spec, references_folder) or {},
    )


def finite(env: gymnasium.Env) -> gymnasium.Env:
    """Ends episodes of environments without a time limit after `UNLIMITED` steps: a policy may go in circles."""
    limit = getattr(env.spec, "max_episode_steps", None)
    return gymnasium.wrappers.TimeLimit(env, UNLIMITED) if limit is None else env


def evaluate(
    model_path: str | Path,
    names: list[str] | None = None,
    options: EvaluationOptions | None = None,
    references_folder: str | Path = "outputs/references",
    dataset: str | Path | None = None,
    output: str | Path | None = None,
    jobs: int = 1,
    force: bool = False,
    command: str | None = None,
    progress: bool = True,
    find: Find = catalogue_target,
    on_result: Callable[[str, EnvironmentResult], object] = lambda name, result: None,
    executor: Executor = run_tasks,
) -> Results:
    """Measures random actions, the reference policy and the model by the same code on the same seeds.

    The model is measured twice: with its task text, and with an empty one so that it acts from its history alone.
    An environment that fails is reported under ``failures`` and does not stop the others.

    Args:
        model_path: Folder or Hub id of a pretrained LDM.
        names: Names of environments; by default those that the model was trained on. A model may come from a stranger:
            of those, no environment is made for which a module would have to be imported, or an address be called,
            that nobody here has named. Name such an environment if you trust it.
        options: How each policy is measured; by default with the default values of `EvaluationOptions`.
        references_folder: Folder of trained reference policies.
        dataset: Folder of trajectories. Scores of random actions and of the reference policy that are stored there are
            reused if they were measured on these seeds (and perhaps more), as are those of `ldm reference`.
        output: JSON file, rewritten after each environment. Environments in it that were measured with the same
            options, model and package versions are not measured again.
        jobs: Number of processes; each measures one environment at a time.
        force: Measure again what is in ``output``; needed where a reference policy or an environment has changed.
        command: Command line to record in the results; by default that of this process.
        progress: Whether to show progress bars.
        find: Gives environment and reference for a name; has to be picklable for other processes.
        on_result: Receives the name and the result of each environment as soon as it is known.
        executor: Runs the processes, here or in a cluster.

    Returns:
        All results, with a summary. Reused scores have ``ci`` (95 %: ``mean ± ci``) instead of ``std`` and ``returns``.

    Raises:
        CheckpointError: if there is no usable model.
        DatasetError: if ``dataset`` is not a folder or an ``environment.json`` in it is damaged.
        LDMError: if ``output`` exists and holds something else, or cannot be written.
    """
    options = options or EvaluationOptions()
    loaded_model.cache_clear()  # the folder may hold another model than at the last call
    model, processor = loaded_model(str(model_path))
    if output is not None:
        check_writable(output)  # before anything is measured
    asked = names is not None
    names = list(dict.fromkeys(processor.environments if names is None else names))
    if not names:
        raise LDMError(f"{model_path} was trained on no named environment; say which environments to evaluate in")
    command = command or command_line()
    measured = {"model": model_fingerprint(model, processor), **asdict(options)}
    packages = versions()
    done = {} if force else _finished(output, names, measured, packages)
    for name, result in done.items():
        on_result(name, result)
    due = [name for name in names if name not in done]
    failures: dict[str, str] = {}
    if not asked:
        failures = {name: _distrust(name, effect) for name in due if (effect := what_runs(name))}

    def results(intervals: bool) -> Results:
        environments = {name: done[name] for name in names if name in done}
        found: Results = {
            "environments": environments,
            "command": command,
            "measured": measured,
            "versions": packages,
            "summary": summarise(environments, intervals),
        }
        if failures:
            found["failures"] = failures
        return found

    bars = progress and executor is run_tasks and in_this_process(jobs)
    # an environment may change the working directory
    output, references = None if output is None else Path(output).absolute(), str(Path(references_folder).absolute())
    tasks = {
        name: (name, options, _recorded(dataset, name, options), bars, find) for name in due if name not in failures
    }
    began = len(names) - len(tasks)
    shared, own = {"model": str(model_path)}, {"references": references}
    with tqdm(total=len(names), initial=began, desc="evaluate", unit="environment", disable=not progress) as bar:
        for name, outcome in executor(_evaluate_by_name, tasks, jobs, silence=SILENT_SECONDS, shared=shared, own=own):
            if isinstance(outcome, LDMError):
                logger.warning("%s", outcome)
                failures[name] = str(outcome)
            else:
                done[name] = described(name, outcome)
                on_result(name, done[name])
            if output is not None:
                save_json(results(intervals=False), output)
            bar.update()
    found = results(intervals=True)
    if output is not None:
        save_json(found, output)
    return found


def evaluate_environment(
    model: LDMForActionPrediction,
    processor: LDMProcessor,
    target: Target,
    options: EvaluationOptions,
    recorded: Scores | None = None,
    progress: bool = False,
) -> EnvironmentResult:
    """Measures all policies in one environment.

    Args:
        model: The pretrained model.
        processor: The processor that was saved with it.
        target: The environment and its reference policy.
        options: How each policy is measured.
        recorded: Measurements of ``random`` and ``reference`` that need not be repeated.
        progress: Whether to show progress bars.

    Raises:
        LDMError: if something cannot be measured; names the environment.
    """

    def measure(policy: Policy, label: str, num_envs: int) -> Measurement:
        note(f"measuring {label}")
        episodes = max(options.episodes, target.episodes)
        returns = rollout(target.make_env, policy, episodes, options.seed, num_envs, target.name, progress)
        logger.info("%s, %s: %.4g", target.name, label, returns.mean())
        return measurement(returns, options.seed)

    def measure_model(task: str | None, label: str) -> Measurement:
        name = None if options.incognito else known_as(target.name, processor.environments)
        policy = AgentPolicy(lambda spaces, lanes: make_agent(model, processor, name, task, spaces, num_envs=lanes))
        return measure(policy, label, options.num_envs)

    known = (_usable(target.scores, options) if target.same_seeds else target.scores) | (recorded or {})
    # one lane each, since there is nothing to batch
    random = known.get("random") or measure(RandomPolicy(), "random", num_envs=1)
    reference = known.get("reference") or measure(ReferencePolicy(target.make_reference), "reference", num_envs=1)

    def normalised(score: float) -> float:
        return float(normalised_score(score, random["mean"], reference["mean"], target.name))

    normalised(random["mean"])  # no need to measure the model where there is no scale
    with_task = measure_model(target.task or None, "ldm")
    history_only = measure_model("", "ldm_history_only")
    return {
        "domain": target.domain,
        "random": random,
        "reference": reference,
        "ldm": with_task,
        "normalised": normalised(with_task["mean"]),
        "ldm_history_only": history_only,
        "normalised_history_only": normalised(history_only["mean"]),
    }


def _evaluate_by_name(
    name: str,
    options: EvaluationOptions,
    recorded: Scores,
    progress: bool,
    find: Find,
    model: str,
    references: str,
) -> EnvironmentResult:
    """`evaluate_environment` with arguments that can be sent to another process."""
    return evaluate_environment(*loaded_model(model), find(name, references), options, recorded, progress)


def _recorded(dataset: str | Path | None, name: str, options: EvaluationOptions) -> Scores:
    """Scores of random and reference in a dataset that were measured on (at least) the seeds asked for."""
    if dataset is None:
        return {}
    if not Path(dataset).is_dir():
        raise DatasetError(f"{dataset} is no folder; give the folder of a trajectory dataset.")
    if not is_name(name) or not (Path(dataset) / name).is_dir():
        return {}
    return _usable(EnvironmentInfo.load(Path(dataset) / name).scores, options)


def _usable(scores: Scores, options: EvaluationOptions) -> Scores:
    """The scores that were measured on the seeds asked for, or on more."""
    return {
        label: score
        for label, score in scores.items()
        if score.get("seed") == options.seed and score.get("episodes", 0) >= options.episodes
    }


def model_fingerprint(model: LDMForActionPrediction, processor: LDMProcessor) -> str:
    """Hash of weights and processor, which decide how a model acts; independent of the path."""
    digest = hashlib.sha256(json.dumps(processor.to_dict(), sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _finished(
    output: str | Path | None, names: list[str], measured: dict[str, object], packages: dict[str, str]
) -> dict[str, EnvironmentResult]:
    """Results that an earlier, perhaps interrupted, call has measured in the same way."""
    if output is None or not Path(output).exists():
        return {}
    try:
        found = read_json(Path(output))
        environments: dict[str, EnvironmentResult] = found["environments"]
        if found.get("measured") != measured or found.get("versions") != packages:
            return {}
        for result in environments.values():
            check_result(result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LDMError(
            f"{output} does not hold results of an evaluation; remove it or choose another output"
        ) from error
    return {name: described(name, environments[name]) for name in names if name in environments}


def _distrust(name: str, effect: str) -> str:
    """Why an environment that only the model names is left out."""
    return (
        f"environment {name!r} is left out: to make it would {effect}, which only the model asks for. "
        f"If you trust it, ask for it: --ids {shlex.quote(name)}"
    )


def command_line() -> str:
    """The command line of this process, without the folder of its program."""
    program = Path(sys.argv[0])
    return shlex.join([program.name if program.is_absolute() else str(program), *sys.argv[1:]])
