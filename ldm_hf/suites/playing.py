"""Plays a suite: a model or the references, at the suite's own conditions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm.auto import tqdm

from ..agent import loaded_model, make_agent
from ..environments import EnvironmentSpec, make
from ..environments.library_folders import measured as measured_in_package
from ..environments.library_folders import save_measured
from ..environments.specs import fingerprint, known_as
from ..errors import LDMError
from ..evaluation.evaluating import command_line, finite, model_fingerprint
from ..references import known_scores, load_reference
from ..references.loading import with_reference
from ..rollouts import AgentPolicy, Policy, RandomPolicy, ReferencePolicy
from ..rollouts.measuring import rollout
from ..rollouts.returns import HELD_OUT_SEED, Measurement, half_width, measurement
from ..utils.files import check_writable, read_json, save_json
from ..utils.parallel import SILENT_SECONDS, Executor, note, run_tasks
from .scores import SuiteResults, TaskResult, normalised, summarise
from .tables import Suite, SuiteTask, load_suite

logger = logging.getLogger(__name__)

REFERENCES = "references"
"""Who plays where no model does."""


def evaluate_suite(
    name: str,
    output: str | Path,
    model_path: str | Path | None = None,
    ids: Sequence[str] | None = None,
    episodes: int | None = None,
    references_folder: str | Path = "outputs/references",
    num_envs: int = 10,
    jobs: int = 1,
    force: bool = False,
    save: bool = False,
    command: str | None = None,
    progress: bool = True,
    on_result: Callable[[str, TaskResult], object] = lambda name, result: None,
    executor: Executor = run_tasks,
) -> SuiteResults:
    """Measures a model, or the reference policies, in the environments of a suite; continues what was interrupted.

    Tasks that are not tried, that fail, or that have no reference, count with a normalised score of 0.

    Args:
        name: name of the suite.
        output: JSON file, rewritten after each task. What it holds of the same model, or of the same reference, at the
            same conditions and with as many episodes, is not measured again.
        model_path: folder or Hub id of a pretrained LDM; None plays the references.
        ids: names of the tasks to try now; all by default.
        episodes: episodes of each policy; by default what the suite says. References that `ldm reference` has measured
            at the suite's conditions with as many episodes are not measured again.
        references_folder: folder of trained reference policies.
        num_envs: environments that a model plays in lock step.
        jobs: number of processes; each measures one task at a time.
        force: measure again what is in ``output``.
        save: record scores of references in the package, where the suite has the conditions of the row's public score.
        command: command line to record; by default that of this process.
        progress: whether to show a progress bar.
        on_result: receives the name and the result of each task as soon as it is known.
        executor: runs the processes, here or in a cluster.

    Returns:
        The results of all tasks.

    Raises:
        LDMError: if the suite or a task of ``ids`` does not exist, or ``output`` holds something else.
        CheckpointError: if there is no usable model.
    """
    suite = load_suite(name)
    if unknown := set(ids or []) - set(suite.tasks):
        raise LDMError(f"the suite {name} has no task {', '.join(sorted(unknown))}")
    check_writable(Path(output))
    output, references = Path(output).absolute(), str(Path(references_folder).absolute())
    episodes = episodes or suite.episodes
    who, measured = REFERENCES, dict[str, object]()
    if model_path is not None:
        loaded_model.cache_clear()  # the folder may hold another model than at the last call
        who, measured = Path(model_path).resolve().name, {"model": model_fingerprint(*loaded_model(str(model_path)))}
    tasks = {task: _untried(entry) for task, entry in suite.tasks.items()}
    tasks |= _finished(output, suite, who, measured)
    due = [
        task
        for task in ids or suite.tasks
        if force or not _holds(tasks[task], suite.tasks[task].spec, episodes, who == REFERENCES)
    ]

    def results() -> SuiteResults:
        return {
            "suite": name,
            "who": who,
            "command": command or command_line(),
            "measured": measured,
            "tasks": tasks,
            "summary": summarise(suite, tasks),
        }

    arguments = {task: (suite.tasks[task], episodes, num_envs) for task in due}
    shared = {} if model_path is None else {"model_path": str(model_path)}
    own = {"references": references}
    with tqdm(total=len(due), desc=name, unit="task", disable=not progress) as bar:
        for task, outcome in executor(_measure, arguments, jobs, silence=SILENT_SECONDS, shared=shared, own=own):
            if isinstance(outcome, LDMError):
                logger.warning("%s", outcome)
                tasks[task] = _untried(suite.tasks[task]) | {"error": str(outcome)}
            else:
                tasks[task] = outcome
                if save:
                    _save(suite.tasks[task], outcome)
            on_result(task, tasks[task])
            save_json(results(), output)
            bar.update()
    found = results()
    save_json(found, output)
    return found


def _untried(task: SuiteTask) -> TaskResult:
    return {
        "domain": task.domain,
        "score": None,
        "random": task.random,
        "expert": task.expert,
        "normalised": 0.0,
        "others": task.others,
        "episodes": 0,
    }


def _counted(task: SuiteTask, entry: TaskResult) -> TaskResult:
    """A measured result on the scale of the table."""
    told = _untried(task)
    random = entry["random"] if told["random"] is None else told["random"]
    score = entry["score"]
    assert score is not None and random is not None, "only what was measured is counted"
    share = normalised(score, random, task.expert)
    return entry | {
        "domain": task.domain,
        "random": random,
        "expert": task.expert,
        "others": task.others,
        "normalised": share,
    }


def _holds(result: TaskResult, spec: EnvironmentSpec, episodes: int, reference: bool) -> bool:
    """Whether a result needs no new measurement."""
    chosen = with_reference(spec)
    same = not reference or (result.get("policy"), result.get("kwargs")) == (chosen.reference, chosen.reference_kwargs)
    return same and result["episodes"] >= episodes and result.get("row") == fingerprint(spec)


def _finished(output: Path, suite: Suite, who: str, measured: dict[str, object]) -> dict[str, TaskResult]:
    """The scores that an earlier call has measured of the same player; they are counted by the table as it is now."""
    if not output.exists():
        return {}
    try:
        found = read_json(output)
        if (found["suite"], found["who"]) != (suite.name, who):
            raise ValueError(f"these are of {found['suite']} and {found['who']}")
        entries: dict[str, TaskResult] = found["tasks"] if found["measured"] == measured else {}
        return {
            name: _counted(suite.tasks[name], entry)
            for name, entry in entries.items()
            if name in suite.tasks and entry["score"] is not None
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LDMError(
            f"{output} does not hold results of {who} in the suite {suite.name} ({error}); remove it or choose another "
            "output"
        ) from error


def _measure(
    task: SuiteTask, episodes: int, num_envs: int, references: str, model_path: str | None = None
) -> TaskResult:
    """Measures one task; the result is untried if there is no reference."""
    spec = task.spec
    known = (known_scores(spec, references) or {}) if model_path is None else {}

    def measure(policy: Policy, label: str, lanes: int) -> Measurement:
        note(f"measuring {label}")
        least = max(episodes, spec.episodes)
        returns = rollout(lambda: finite(make(spec)), policy, least, HELD_OUT_SEED, lanes, spec.name)
        return measurement(returns, HELD_OUT_SEED) | {"ci": half_width(returns)}

    result = _untried(task)
    if model_path is not None:
        model, processor = loaded_model(model_path)
        name = known_as(spec.name, processor.environments)
        player: Policy = AgentPolicy(
            lambda spaces, lanes: make_agent(model, processor, name, spec.task or None, spaces, num_envs=lanes)
        )
        found = measure(player, "ldm", num_envs)
    elif (chosen := with_reference(spec)).reference is None:
        return result
    else:
        result |= {"policy": chosen.reference, "kwargs": chosen.reference_kwargs}
        recorded = known.get("reference") or _recorded(task, chosen)
        if recorded.get("episodes", 0) >= episodes:
            found = recorded
        else:
            found = measure(ReferencePolicy(lambda: load_reference(spec, Path(references))), "reference", 1)
    if result["random"] is None:
        result["random"] = (known.get("random") or measure(RandomPolicy(), "random", 1))["mean"]
    result |= {
        "score": found["mean"],
        "episodes": found["episodes"],
        "ci": found["ci"],
        "seed": found["seed"],
        "row": fingerprint(spec),
    }
    return _counted(task, result)


def _recorded(task: SuiteTask, spec: EnvironmentSpec) -> Measurement:
    """What the package has recorded of the row's reference at these conditions; empty if nothing."""
    found = measured_in_package()["public"].get(task.name)
    if found is None or (found["changes"], found["policy"], found["kwargs"], found["library"]) != (
        task.changes,
        spec.reference,
        spec.reference_kwargs,
        f"{spec.library} {spec.version}",
    ):
        return {}
    score = found["reference"]
    return {"mean": score["mean"], "ci": score["ci"], "episodes": found["episodes"], "seed": found["seed"]}


def _save(task: SuiteTask, result: TaskResult) -> None:
    """Records the score of a reference at the conditions of the row's public score."""
    spec, public = task.spec, task.spec.public
    if public is None or not task.changes or public["changes"] != task.changes or result["score"] is None:
        return
    found = {
        "random": result["random"],
        "reference": {"mean": float(f"{result['score']:.6g}"), "ci": float(f"{result['ci']:.6g}")},
        "policy": result["policy"],
        "kwargs": result["kwargs"],
        "episodes": result["episodes"],
        "seed": result["seed"],
        "changes": task.changes,
        "library": f"{spec.library} {spec.version}",
    }
    save_measured("public", spec.library, {task.name: found})
