"""Evaluates one pretrained model in many environments."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium
import torch
from tqdm.auto import tqdm

from ..agent import LDMAgent, load_model
from ..errors import DatasetError, LDMError
from ..modeling_ldm import LDMForActionPrediction
from ..parallel import run_tasks
from ..processing_ldm import LDMProcessor
from ..trajectories.schema import EnvironmentInfo
from ..versions import versions
from .rollouts import AgentPolicy, Policy, RandomPolicy, ReferencePolicy, rollout
from .scores import VARIANTS, measurement, normalised_score, save_results, summarise

logger = logging.getLogger(__name__)

HELD_OUT_SEED = 1_000_000
"""Of the first episode that measures a policy: far from the seeds of collected episodes."""

loaded_model = lru_cache(maxsize=1)(load_model)  # a process measures one model in many environments


@dataclass(frozen=True)
class Target:
    """An environment to evaluate in, its task text, and the policy that its scores are measured against.

    Attributes:
        name: in the catalogue, and in the processor if the model knows it.
        domain: that its score is counted in.
        task: text that the model is told; empty if there is none.
        make_env: makes one environment.
        make_reference: makes an object with ``reset(env)`` and ``act(env, observation, info)``.
        episodes: to measure with at the least, where returns vary much.
        scores: of ``random`` and ``reference``, where they have been measured.
    """

    name: str
    domain: str
    task: str
    make_env: Callable[[], gymnasium.Env]
    make_reference: Callable[[], Any]
    episodes: int = 1
    scores: Mapping[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measuring:
    """How every policy is measured.

    Attributes:
        episodes: per policy.
        seed: of the first episode.
        num_envs: environments in lock step.
        progress: show a progress bar.
        incognito: the model is not told which environment it is in.
    """

    episodes: int
    seed: int
    num_envs: int
    progress: bool
    incognito: bool = False


def catalogue_target(name: str, references_folder: str | Path) -> Target:
    """The catalogue's environment ``name`` with its reference policy.

    Raises:
        UnknownEnvironmentError: if there is none of this name.
    """
    from ..environments import get_spec, make
    from ..references import known_scores, load_reference

    spec = get_spec(name)
    return Target(
        name=name,
        domain=spec.domain,
        task=spec.task or "",
        make_env=lambda: make(spec),
        make_reference=lambda: load_reference(spec, Path(references_folder)),
        episodes=spec.episodes,
        scores=known_scores(spec, references_folder) or {},
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
    incognito: bool = False,
    command: str | None = None,
    progress: bool = True,
    force: bool = False,
    find: Callable[[str, str | Path], Target] = catalogue_target,
    on_result: Callable[[str, dict[str, Any]], Any] = lambda name, entry: None,
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
            these seeds (and perhaps more), as are those that `ldm reference` has measured.
        output: JSON file, rewritten after each environment. Environments that are in it already, measured the same way with the same model and
            versions of the packages, are not measured again.
        incognito: do not tell the model which environment it is in, so that it standardises by the stream instead of by the
            statistics of its training data, as it would in an environment that it does not know.
        command: that the results tell; by default that of this process.
        progress: show progress bars.
        force: measure again what ``output`` tells already; needed where a reference policy or an environment has changed.
        find: environment and reference by name; a function that can be pickled if ``jobs > 1``.
        on_result: receives the name and the entry of each environment as soon as it is known.

    Returns:
        ``{"environments": {name: {"domain", "random": {"mean", "std", "episodes", "seed", "returns"}, "reference",
        "ldm", "ldm_history_only", "normalised", "normalised_history_only"}}, "summary", "command", "measured", "versions"}``, and
        ``"failures": {name: message}`` if there were any. ``measured`` tells with which model and how. Scores that were known already tell ``ci`` (95 %: ``mean ± ci``) in place of ``std`` and
        ``returns``.

    Raises:
        CheckpointError: if there is no usable model.
        DatasetError: if ``dataset`` is no folder or an ``environment.json`` in it is damaged.
        LDMError: if ``output`` is there and holds something else.
    """
    loaded_model.cache_clear()  # the folder may hold another model than at the last call
    model, processor = loaded_model(str(model_path))
    names = list(dict.fromkeys(processor.environments if names is None else names))
    if not names:
        raise LDMError(f"{model_path} was trained on no named environment; say which environments to evaluate in")
    measuring = Measuring(episodes, seed, num_envs, progress and jobs == 1, incognito)
    results: dict[str, Any] = {
        "environments": {},
        "command": command or _own_command(),
        "measured": {
            "model": model_fingerprint(model, processor),
            "episodes": episodes,
            "seed": seed,
            "num_envs": num_envs,
            "incognito": incognito,
        },
        "versions": versions(),
    }
    done = results["environments"] = {} if force else _finished(output, results, names)
    for name, entry in done.items():
        on_result(name, entry)
    tasks = {
        name: (str(model_path), name, str(references_folder), measuring, _recorded(dataset, name, measuring), find)
        for name in names
        if name not in done
    }
    with tqdm(total=len(names), initial=len(done), desc="evaluate", unit="environment", disable=not progress) as bar:
        for name, outcome in run_tasks(_work, tasks, jobs):
            if isinstance(outcome, dict):
                done[name] = outcome
                on_result(name, outcome)
            else:
                logger.warning("%s", outcome)
                results.setdefault("failures", {})[name] = str(outcome)
            if output is not None:
                save_results(_summarised(results, names, intervals=False), output)
            bar.update()
    results = _summarised(results, names, intervals=True)
    if output is not None:
        save_results(results, output)
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

    def measure(policy: Policy, label: str, num_envs: int) -> dict[str, Any]:
        returns = rollout(
            target.make_env,
            policy,
            max(measuring.episodes, target.episodes),
            measuring.seed,
            num_envs,
            target.name,
            measuring.progress,
        )
        logger.info("%s, %s: %.4g", target.name, label, returns.mean())
        return measurement(returns, measuring.seed)

    def policy_of(task: str | None) -> AgentPolicy:
        return AgentPolicy(
            lambda spaces, lanes: make_agent(
                model, processor, None if measuring.incognito else target.name, task, spaces, num_envs=lanes
            )
        )

    entry: dict[str, Any] = {"domain": target.domain}
    baselines: dict[str, Policy] = {"random": RandomPolicy(), "reference": ReferencePolicy(target.make_reference)}
    known = _usable(target.scores, measuring) | (recorded or {})
    for label, policy in baselines.items():
        entry[label] = known.get(label) or measure(policy, label, num_envs=1)  # nothing to batch
    random, reference = entry["random"]["mean"], entry["reference"]["mean"]
    normalised_score(random, random, reference, target.name)  # no need to measure the model where there is no scale
    for variant, task in zip(VARIANTS, (target.task or None, ""), strict=True):
        measured = entry[f"ldm{variant}"] = measure(policy_of(task), f"ldm{variant}", measuring.num_envs)
        entry[f"normalised{variant}"] = normalised_score(measured["mean"], random, reference, target.name)
    return entry


def make_agent(
    model: LDMForActionPrediction, processor: LDMProcessor, name: str | None, task: str | None, env: Any, **kwargs: Any
) -> LDMAgent:
    """An agent that uses what the model knows of the environment ``name``; if it knows nothing, the task text given.

    Args:
        model: the pretrained model.
        processor: saved with it.
        name: of the environment, None if the model is not to be told.
        task: text for an environment that the model does not know; ``""`` acts from history alone in any.
        env: as `LDMAgent` takes it.
        **kwargs: further arguments of `LDMAgent`.
    """
    if name in processor.environments:
        return LDMAgent(model, processor, env, environment=name, task="" if task == "" else None, **kwargs)
    return LDMAgent(model, processor, env, task=task, **kwargs)


def _work(
    model_path: str,
    name: str,
    references_folder: str,
    measuring: Measuring,
    recorded: dict[str, dict[str, Any]],
    find: Callable[[str, str | Path], Target],
) -> dict[str, Any]:
    model, processor = loaded_model(model_path)
    return evaluate_environment(model, processor, find(name, references_folder), measuring, recorded)


def _recorded(dataset: str | Path | None, name: str, measuring: Measuring) -> dict[str, dict[str, Any]]:
    """Scores of random and reference in a dataset that were measured on (at least) the seeds asked for."""
    if dataset is None:
        return {}
    if not Path(dataset).is_dir():
        raise DatasetError(f"{dataset} is no folder; give the folder of a trajectory dataset.")
    if not (Path(dataset) / name).is_dir():
        return {}
    return _usable(EnvironmentInfo.load(Path(dataset) / name).scores, measuring)


def _usable(scores: Mapping[str, dict[str, Any]], measuring: Measuring) -> dict[str, dict[str, Any]]:
    """Those measured on the seeds asked for, or on more."""
    return {
        label: score
        for label, score in scores.items()
        if score.get("seed") == measuring.seed and score.get("episodes", 0) >= measuring.episodes
    }


def model_fingerprint(model: LDMForActionPrediction, processor: LDMProcessor) -> str:
    """Of all that decides how a model acts, wherever it lies."""
    digest = hashlib.sha256(json.dumps(processor.to_dict(), sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _finished(output: str | Path | None, results: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Environments that a former, perhaps interrupted, call has measured in the same way."""
    if output is None or not Path(output).exists():
        return {}
    try:
        found = json.loads(Path(output).read_text(encoding="utf-8"))
        environments = found["environments"]
    except (ValueError, KeyError, TypeError) as error:
        raise LDMError(
            f"{output} does not hold results of an evaluation; remove it or choose another output"
        ) from error
    same = all(found.get(key) == results[key] for key in ("measured", "versions"))
    return {name: environments[name] for name in names if same and name in environments}


def _summarised(results: dict[str, Any], names: list[str], intervals: bool) -> dict[str, Any]:
    """With the environments in the order asked for, and their summary."""
    done = results["environments"]
    environments = {name: done[name] for name in names if name in done}
    return results | {"environments": environments, "summary": summarise(environments, intervals)}


def _own_command() -> str:
    program = Path(sys.argv[0])
    return shlex.join([program.name if program.is_absolute() else str(program), *sys.argv[1:]])
