"""Evaluates one pretrained model in many environments."""

from __future__ import annotations

import logging
import multiprocessing
import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import torch
from tqdm.auto import tqdm

from ..agent import LDMAgent
from ..errors import CheckpointError, DatasetError, EnvironmentFailure, LDMError
from ..modeling_ldm import LDMForActionPrediction
from ..processing_ldm import LDMProcessor
from ..trajectories.schema import EnvironmentInfo
from .rollouts import AgentPolicy, Policy, RandomPolicy, ReferencePolicy, rollout
from .scores import VARIANTS, measurement, normalised_score, save_results, summarise

logger = logging.getLogger(__name__)

HELD_OUT_SEED = 1_000_000  # far from the seeds of collected episodes
PACKAGES = ("ldm_hf", "torch", "transformers", "gymnasium", "numpy")


@dataclass(frozen=True)
class Target:
    """An environment to evaluate in, its task text, and the policy that its scores are measured against."""

    name: str
    domain: str
    task: str
    make_env: Callable[[], gymnasium.Env]
    make_reference: Callable[[], Any]


@dataclass(frozen=True)
class Measuring:
    """How every policy is measured."""

    episodes: int
    seed: int
    num_envs: int
    progress: bool


def catalogue_target(name: str, references_folder: str | Path) -> Target:
    """The catalogue's environment ``name`` with its reference policy.

    Raises:
        UnknownEnvironmentError: if there is none of this name.
    """
    from ..environments import get_spec, make
    from ..references import load_reference

    spec = get_spec(name)
    return Target(
        name=name,
        domain=spec.domain,
        task=spec.task or "",
        make_env=lambda: make(spec),
        make_reference=lambda: load_reference(spec, Path(references_folder)),
    )


def evaluate(
    model_path: str | Path,
    names: list[str] | None = None,
    references_folder: str | Path = "outputs/references",
    episodes: int = 20,
    seed: int = HELD_OUT_SEED,
    num_envs: int = 10,
    jobs: int = 1,
    dataset: str | Path | None = None,
    output: str | Path | None = None,
    command: str | None = None,
    progress: bool = True,
    find: Callable[[str, str | Path], Target] = catalogue_target,
) -> dict[str, Any]:
    """Measures random actions, the reference policy and the model by the same code on the same seeds.

    The model is measured twice: with its task text, and with an empty one so that it acts from its history alone.
    An environment that fails is reported under ``failures`` and does not stop the others.

    Args:
        model_path: folder or Hub id of a pretrained LDM.
        names: of environments; by default those that the model was trained on.
        references_folder: where trained reference policies are.
        episodes: per policy.
        seed: of the first episode; the default is far from those of collected episodes.
        num_envs: environments in lock step.
        jobs: processes; each measures one environment at a time.
        dataset: folder of trajectories; scores of random and reference stored there are used if they were measured on
            the same seeds.
        output: JSON file, rewritten after each environment.
        command: that the results tell; by default that of this process.
        progress: show progress bars.
        find: environment and reference by name; a function that can be pickled if ``jobs > 1``.

    Returns:
        ``{"environments": {name: {"domain", "random": {"mean", "std", "episodes", "seed", "returns"}, "reference",
        "ldm", "ldm_history_only", "normalised", "normalised_history_only"}}, "summary", "command", "versions"}``, and
        ``"failures": {name: message}`` if there were any.

    Raises:
        CheckpointError: if there is no usable model.
        DatasetError: if ``dataset`` is no folder or an ``environment.json`` in it is damaged.
    """
    _, processor = load_model(str(model_path))
    names = list(dict.fromkeys(processor.environments if names is None else names))
    if not names:
        raise LDMError(f"{model_path} was trained on no named environment; say which environments to evaluate in")
    measuring = Measuring(episodes, seed, num_envs, progress and jobs == 1)
    tasks = {
        name: (str(model_path), name, str(references_folder), measuring, _recorded(dataset, name, measuring), find)
        for name in names
    }
    results: dict[str, Any] = {
        "environments": {},
        "summary": summarise({}),
        "command": command or _own_command(),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
    }
    with tqdm(total=len(names), desc="evaluate", unit="environment", disable=not progress) as bar:
        for name, outcome in _outcomes(tasks, jobs):
            if isinstance(outcome, dict):
                results["environments"][name] = outcome
            else:
                logger.warning("%s", outcome)
                results.setdefault("failures", {})[name] = str(outcome)
            done = results["environments"]
            results["environments"] = {key: done[key] for key in names if key in done}
            results["summary"] = summarise(results["environments"])
            if output is not None:
                save_results(results, output)
            bar.update()
    return results


def evaluate_environment(
    model: LDMForActionPrediction,
    processor: LDMProcessor,
    target: Target,
    measuring: Measuring,
    recorded: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The entry of one environment in the results of `evaluate`.

    Args:
        model: the pretrained model.
        processor: saved with it.
        target: the environment.
        measuring: how.
        recorded: measurements of ``random`` and ``reference`` that need not be repeated.

    Raises:
        LDMError: if something cannot be measured; names the environment.
    """
    known = target.name in processor.environments

    def measure(policy: Policy, label: str) -> dict[str, Any]:
        returns = rollout(
            target.make_env,
            policy,
            measuring.episodes,
            measuring.seed,
            measuring.num_envs,
            target.name,
            measuring.progress,
        )
        logger.info("%s, %s: %.4g", target.name, label, returns.mean())
        return measurement(returns, measuring.seed)

    def policy_of(task: str | None) -> AgentPolicy:
        return AgentPolicy(
            lambda spaces, lanes: LDMAgent(
                model, processor, spaces, environment=target.name if known else None, task=task, num_envs=lanes
            )
        )

    entry: dict[str, Any] = {"domain": target.domain}
    baselines = {"random": RandomPolicy(), "reference": ReferencePolicy(target.make_reference)}
    for label, policy in baselines.items():
        entry[label] = (recorded or {}).get(label) or measure(policy, label)
    random, reference = entry["random"]["mean"], entry["reference"]["mean"]
    normalised_score(random, random, reference, target.name)  # no need to measure the model where there is no scale
    tasks = (None if known else target.task, "")  # None: the text that the model was trained with
    for variant, task in zip(VARIANTS, tasks, strict=True):
        measured = entry[f"ldm{variant}"] = measure(policy_of(task), f"ldm{variant}")
        entry[f"normalised{variant}"] = normalised_score(measured["mean"], random, reference, target.name)
    return entry


def load_model(path: str) -> tuple[LDMForActionPrediction, LDMProcessor]:
    """Model and processor saved in a folder or on the Hub.

    Raises:
        CheckpointError: if there is no usable model.
    """
    try:
        return LDMForActionPrediction.from_pretrained(path), LDMProcessor.from_pretrained(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"no usable LDM at {path}: {error}") from error


def _outcomes(tasks: dict[str, tuple], jobs: int) -> Iterator[tuple[str, dict[str, Any] | LDMError]]:
    """Entries or errors, as they come."""
    if jobs == 1:
        for name, task in tasks.items():
            yield name, _work(*task)
        return
    # Spawned, since forking a process in which torch has started threads can hang.
    pool: Executor = ProcessPoolExecutor(
        min(jobs, len(tasks)), multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )
    with pool:
        futures: dict[Future, str] = {pool.submit(_work, *task): name for name, task in tasks.items()}
        for future in as_completed(futures):
            name, error = futures[future], future.exception()
            yield name, future.result() if error is None else EnvironmentFailure(name, "its worker process", error)


def _work(
    model_path: str,
    name: str,
    references_folder: str,
    measuring: Measuring,
    recorded: dict[str, dict[str, Any]],
    find: Callable[[str, str | Path], Target],
) -> dict[str, Any] | LDMError:
    try:
        model, processor = load_model(model_path)
        return evaluate_environment(model, processor, find(name, references_folder), measuring, recorded)
    except LDMError as error:
        return error
    except Exception as error:  # of a reference policy, or a mistake of ours: the other environments go on
        logger.debug("%s", name, exc_info=True)
        return EnvironmentFailure(name, "evaluation", error)


def _recorded(dataset: str | Path | None, name: str, measuring: Measuring) -> dict[str, dict[str, Any]]:
    """Scores of random and reference in a dataset that were measured on (at least) the seeds asked for."""
    if dataset is None:
        return {}
    if not Path(dataset).is_dir():
        raise DatasetError(f"{dataset} is no folder; give the folder of a trajectory dataset.")
    if not (Path(dataset) / name).is_dir():
        return {}
    scores = EnvironmentInfo.load(Path(dataset) / name).scores
    return {
        label: score
        for label, score in scores.items()
        if score.get("seed") == measuring.seed and score.get("episodes", 0) >= measuring.episodes
    }


def _own_command() -> str:
    program = Path(sys.argv[0])
    return shlex.join([program.name if program.is_absolute() else str(program), *sys.argv[1:]])
