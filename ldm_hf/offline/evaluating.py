"""Evaluates a model on logged episodes that were left out of its training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from tqdm.auto import tqdm

from ..agent import load_model
from ..errors import LDMError, UnknownEnvironmentError
from ..evaluation.evaluating import command_line
from ..modeling_ldm import LDMForActionPrediction
from ..processing_ldm import LDMProcessor
from ..spaces import check_same
from ..training.checkpoints import RunSummary, former_runs
from ..trajectories.dataset import open_dataset
from ..trajectories.reader import EnvironmentTrajectories
from ..trajectories.remote import RemoteTrajectories
from ..trajectories.splitting import entities, test_episodes
from ..trajectories.writer import of_episodes
from ..utils.files import check_writable, save_json
from ..utils.installed import versions
from .agreement import Difference, ElementResult, baselines, behaviour_of, compare, worst
from .off_policy import OffPolicy, estimate_returns
from .proposing import propose
from .rows import ActionTable, Element, Rows, read_rows

logger = logging.getLogger(__name__)

SHARE = "0.2"  # test episodes, where neither the caller nor the training says which
MOST_TRAIN, MOST_TEST = 50_000, 20_000  # rows that baselines learn from, and that are judged


class EnvironmentLogs(TypedDict):
    """How a model does on the test episodes of one environment.

    Attributes:
        trained_on: what is known of whether the model was trained on these episodes.
        leak: whether it was, or may have been.
        train_episodes: number of episodes that the baselines learned from.
        train_rows: number of their steps.
        test_episodes: number of test episodes.
        test_rows: number of their steps.
        entities: entities of the test episodes, where the log names some.
        elements: comparison by action element.
        worst: where the model differs most from the log.
        off_policy: estimates of the return; None where the log has no rewards.
        notes: what a reader should know.
    """

    trained_on: str
    leak: bool
    train_episodes: int
    train_rows: int
    test_episodes: int
    test_rows: int
    entities: list[str]
    elements: dict[str, ElementResult]
    worst: list[Difference]
    off_policy: OffPolicy | None
    notes: list[str]


class LogResults(TypedDict):
    """What the JSON file of an evaluation on logs holds.

    Attributes:
        environments: results by the name of the environment.
        model: folder or Hub id of the model.
        logs: folder or Hub id of the log.
        test_episodes: rule that chose the test episodes.
        command: command line that made them.
        versions: versions of the packages.
        failures: messages by the name of the environment, if one cannot be judged.
    """

    environments: dict[str, EnvironmentLogs]
    model: str
    logs: str
    test_episodes: str
    command: str
    versions: dict[str, str]
    failures: NotRequired[dict[str, str]]


@dataclass
class Judged:
    """The rows behind the results of an environment, for pictures.

    Args:
        rows: test rows.
        elements: elements of the action.
    """

    rows: Rows
    elements: list[Element]


def evaluate_logs(
    model_path: str | Path,
    logs: str | Path,
    names: list[str] | None = None,
    rule: str | None = None,
    output: str | Path | None = None,
    command: str | None = None,
    progress: bool = True,
) -> tuple[LogResults, dict[str, Judged]]:
    """Compares a model with logged decisions, and estimates what return it would have had.

    Baselines and estimators learn from the episodes that are not for the test; everything is judged on those that are.

    Args:
        model_path: folder or Hub id of a trained model.
        logs: folder or Hub id of a dataset.
        names: names of environments; all of the dataset by default.
        rule: which episodes are for the test, see `splitting.test_episodes`; by default those that the training of the
            model left out, or the last fifth.
        output: JSON file to write.
        command: command line to record; by default that of this process.
        progress: show progress bars.

    Returns:
        The results, and the rows behind them by environment.

    Raises:
        CheckpointError: if there is no usable model.
        DatasetError: if there is no such dataset or environment.
        LDMError: if no environment can be judged; says why.
        MissingExtraError: without scikit-learn.
    """
    if output is not None:
        check_writable(output)
    if Path(logs).suffix in (".yaml", ".yml"):
        raise LDMError(f"{logs} is a mixture; name one of its datasets (--logs outputs/logs)")
    model, processor = load_model(model_path)
    streams = open_dataset(logs, names)
    runs = former_runs(str(model_path))
    told = [run["arguments"].get("test_episodes") for run in runs]
    rule = rule or next((each for each in reversed(told) if each), SHARE)
    results: LogResults = {
        "environments": {},
        "model": str(model_path),
        "logs": str(logs),
        "test_episodes": rule,
        "command": command or command_line(),
        "versions": versions(),
    }
    judged: dict[str, Judged] = {}
    failures: dict[str, str] = {}
    for name, stream in tqdm(streams.items(), desc="evaluate", unit="environment", disable=not progress):
        whole = stream.here if isinstance(stream, RemoteTrajectories) else stream
        assert isinstance(whole, EnvironmentTrajectories)  # nothing is selected here
        try:
            found, rows = _evaluate(model, processor, whole, rule, _training(runs, logs, rule), progress)
        except LDMError as error:
            if len(streams) == 1:
                raise
            failures[name] = str(error)
            continue
        results["environments"][name], judged[name] = found, rows
    if not judged:
        raise LDMError(f"no environment of {logs} can be judged: {next(iter(failures.values()))}")
    if failures:
        results["failures"] = failures
    if output is not None:
        save_json(results, output)
    return results, judged


def _training(runs: list[RunSummary], logs: str | Path, rule: str) -> tuple[str, bool]:
    """What is known of whether a model has seen the test episodes, and whether it has or may have."""
    if not runs:
        return (
            "which episodes the model was trained on is not recorded: if these are among them, it looks too good",
            True,
        )
    on_these = [run["arguments"] for run in runs if _same(run["arguments"].get("dataset"), logs)]
    if not on_these:
        others = ", ".join(sorted({str(run["arguments"].get("dataset")) for run in runs}))
        return f"the model was trained on {others}: that these episodes are not in there cannot be seen here", True
    if any(arguments.get("test_episodes") != rule for arguments in on_these):
        return (
            "THE MODEL WAS TRAINED ON THESE EPISODES, or on some of them: what follows is no test. "
            f"Train it again with --test_episodes {rule}",
            True,
        )
    return f"the training left these episodes out (--test_episodes {rule})", False


def _same(one: object, other: str | Path) -> bool:
    """Whether two paths or Hub ids name the same dataset."""
    return str(one) == str(other) or (Path(str(one)).exists() and Path(str(one)).resolve() == Path(other).resolve())


def _evaluate(
    model: LDMForActionPrediction,
    processor: LDMProcessor,
    stream: EnvironmentTrajectories,
    rule: str,
    training: tuple[str, bool],
    progress: bool,
) -> tuple[EnvironmentLogs, Judged]:
    """Judges a model on one environment."""
    name = stream.info.name
    if name not in processor.environments:
        names = ", ".join(sorted(processor.environments)[:5]) or "none"
        raise UnknownEnvironmentError(
            f"the model knows no environment {name!r} (it knows {names}, ...), so it cannot be judged on its log; "
            "train it on the log first (examples/finetune.py --dataset ... --test_episodes 0.2)"
        )
    layout = processor.layout(name)
    check_same(layout.observation_space, stream.observation_space, f"the observation space of {name} in the model")
    check_same(layout.action_space, stream.action_space, f"the action space of {name} in the model")
    table = ActionTable(stream.action_space, layout.actions, _words(stream))
    if not table.elements:
        raise LDMError(f"{name}: an action has no element, so there is nothing to compare")
    held, owners = test_episodes(stream, rule), entities(stream)
    lengths = np.diff(stream.episode_starts)

    def read(chosen: np.ndarray) -> tuple[Rows, list[str]]:
        actions = propose(model, processor, stream, chosen, owners, progress)
        return read_rows(stream, chosen, table, table(actions))

    train, left_out = read(_some(np.flatnonzero(~held), lengths, MOST_TRAIN))
    test, _ = read(_some(np.flatnonzero(held), lengths, MOST_TEST))
    constant = [
        element.name
        for place, element in enumerate(table.elements)
        if len(np.unique(np.append(train.actions[:, place], test.actions[:, place]))) == 1
    ]
    if len(constant) == len(table.elements):
        raise LDMError(f"{name}: all logged actions are the same, so there is nothing to compare a model with")
    notes = [f"all logged actions are the same in {', '.join(constant)}"] if constant else []
    if left_out:
        notes.append(f"the baselines do not see {', '.join(left_out)} (texts, or over 256 numbers); the model does")
    counts = int((~held).sum()), int(held.sum())
    if counts != (len(train.episodes), len(test.episodes)):
        notes.append(
            f"of {counts[0]:,} and {counts[1]:,} episodes, {len(train.episodes):,} evenly spread ones were learned "
            f"from and {len(test.episodes):,} judged"
        )
    if len(test.episodes) == 1:
        notes.append("a single test episode says nothing about how much others would differ: there are no intervals")
    rewarded = bool((train.reward != 0).any())
    if not rewarded:
        notes.append("the log has no rewards, so no return can be estimated")
    behaviour = behaviour_of(train, table.elements)
    choices = [classifier for classifier in behaviour if classifier is not None]
    known = choices if len(choices) == len(behaviour) else []
    others = baselines(train, test, table.elements, behaviour)
    found: EnvironmentLogs = {
        "trained_on": training[0],
        "leak": training[1],
        "train_episodes": len(train.episodes),
        "train_rows": len(train.step),
        "test_episodes": len(test.episodes),
        "test_rows": len(test.step),
        "entities": sorted({str(owner) for owner in owners[test.episodes]} - {""}),
        "elements": compare(test, others, table.elements),
        "worst": worst(test, table.elements, owners, of_episodes(stream.folder, "time", "")),
        "off_policy": estimate_returns(train, test, known) if rewarded else None,
        "notes": notes,
    }
    return found, Judged(test, table.elements)


def _words(stream: EnvironmentTrajectories) -> Mapping[str, list[str]]:
    """The words of choices by the path of their leaf, where an imported table had some."""
    columns: Any = stream.info.collection.get("columns")
    parts = columns.get("action") if isinstance(columns, Mapping) else None
    if not isinstance(parts, Mapping):
        return {}
    told = {
        str(name): [str(word) for word in part["values"]]
        for name, part in parts.items()
        if isinstance(part, Mapping) and isinstance(part.get("values"), list)
    }
    return {"": next(iter(told.values()))} if told and len(parts) == 1 else told


def _some(episodes: np.ndarray, lengths: np.ndarray, most: int) -> np.ndarray:
    """Evenly spread episodes with about ``most`` steps together; all if they have fewer."""
    total = int(lengths[episodes].sum())
    if total <= most:
        return episodes
    count = max(1, int(len(episodes) * most / total))
    spread: np.ndarray = episodes[np.linspace(0, len(episodes) - 1, count).astype(int)]
    return spread
