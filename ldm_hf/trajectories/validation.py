"""Validation of a dataset: finds every flaw, not only the first."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ..errors import DatasetError
from ..spaces import Steps
from ..utils.membership import outside
from .reader import EnvironmentTrajectories
from .schema import KNOWN_PER_EPISODE, PER_STEP, ROLES
from .writer import of_episodes, shards

CHUNK_BYTES = 64 * 2**20  # data that are checked in one go
ERROR, WARNING = "error", "warning"
OTHERS_ACT = ("perturbed", "student")  # beginnings of behaviours in which not all actions are the reference's

Found = Iterator[tuple[str, str] | tuple[str, str, str]]
"""Findings of one check: kind, problem and, unless it is an error, level."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        environment: name of the environment.
        kind: unreadable, space, not-finite, ends, duplicates, reward, labels, columns.
        problem: description with counts and the first place.
        level: ``error``, or ``warning`` for what may be intended.
    """

    environment: str
    kind: str
    problem: str
    level: str = ERROR

    def __str__(self) -> str:
        return f"{self.environment}: {self.level} ({self.kind}): {self.problem}"


def validate(
    folder: str | Path,
    names: list[str] | None = None,
    reward_range: tuple[float, float] = (-np.inf, np.inf),
    progress: bool = True,
) -> list[Finding]:
    """Checks every step of a dataset.

    Args:
        folder: folder of the dataset.
        names: names of environments; all by default.
        reward_range: smallest and largest reward that is allowed.
        progress: show a bar.

    Returns:
        The findings, environment by environment; empty if nothing is wrong.

    Raises:
        DatasetError: if the folder holds no config at all, or not those asked for.
    """
    folder = Path(folder)
    found = sorted(path.parent.name for path in folder.glob("*/environment.json"))
    wanted = names or found
    if not wanted or set(wanted) - set(found):
        raise DatasetError(
            f"{folder} has no environment {', '.join(sorted(set(wanted) - set(found))) or 'at all'}; "
            f"it has: {', '.join(found) or 'none'}."
        )
    findings = []
    for name in tqdm(wanted, desc="validate", unit=" environments", disable=not progress):
        try:
            stream = EnvironmentTrajectories(folder / name)
        except DatasetError as error:
            findings.append(Finding(name, "unreadable", str(error)))
            continue
        findings += validate_environment(stream, reward_range)
    return findings


def validate_environment(
    stream: EnvironmentTrajectories, reward_range: tuple[float, float] = (-np.inf, np.inf)
) -> list[Finding]:
    """Checks every step of one environment; see `validate`."""
    checks = (
        _members(stream),
        _rewards(stream, reward_range),
        _ends(stream),
        _duplicates(stream),
        _labels(stream),
        _columns(stream),
    )
    return [Finding(stream.info.name, *found) for check in checks for found in check]


def _place(stream: EnvironmentTrajectories, step: int) -> str:
    """Episode and step in it, in words, of a step of the stream."""
    episode = int(np.searchsorted(stream.episode_starts, step, side="right")) - 1
    return f"episode {episode}, step {step - int(stream.episode_starts[episode])}"


def _chunks(stream: EnvironmentTrajectories) -> Iterator[tuple[int, Steps]]:
    """Yields (first step, steps) of parts that fit into memory."""
    size = sum(8 if column.is_text else column.size * column.dtype.itemsize for column in stream.columns)
    count = max(1, CHUNK_BYTES // size)
    for start in range(0, stream.num_steps, count):
        yield start, stream.slice(start, min(start + count, stream.num_steps))


def _members(stream: EnvironmentTrajectories) -> Found:
    """Finds values that are no members of their spaces, NaN first."""
    wrong: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    leaf_spaces = {(column.role, column.path): column.space for column in stream.columns if column.space is not None}
    for start, steps in _chunks(stream):
        by_role = {"observation": steps["observation"], "action": steps["action"], "label": steps["label"]}
        for role, parts in by_role.items():
            for path, values in parts.items():
                infinite = np.zeros(len(values), bool)
                if np.issubdtype(values.dtype, np.floating):
                    infinite = np.array(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
                beyond = outside(leaf_spaces[role, path], values) & ~infinite
                for kind, mask in (("not-finite", infinite), ("space", beyond)):
                    wrong[kind, role, path] += (start + np.flatnonzero(mask)).tolist()
    for (kind, role, path), where in wrong.items():
        if where:
            problem = "NaN or infinite" if kind == "not-finite" else f"outside of {leaf_spaces[role, path]}"
            leaf = f"{role}.{path}" if path else role
            yield kind, f"{leaf} is {problem} in {len(where):,} steps, first in {_place(stream, where[0])}"


def _rewards(stream: EnvironmentTrajectories, reward_range: tuple[float, float]) -> Found:
    """Finds rewards that are NaN, out of range, or all the same."""
    low, high = reward_range
    rewards = np.concatenate([steps["reward"] for _, steps in _chunks(stream)])
    for kind, mask, problem in (
        ("not-finite", ~np.isfinite(rewards), "NaN or infinite"),
        ("reward", (rewards < low) | (rewards > high), f"outside of {low:g} to {high:g}"),
    ):
        if mask.any():
            first = int(np.flatnonzero(mask)[0])
            yield (
                kind,
                f"the reward is {problem} in {int(mask.sum()):,} steps, "
                f"first {rewards[first]:g} in {_place(stream, first)}",
            )
    if len(rewards) > 1 and (rewards == rewards[0]).all() and len(set(np.diff(stream.episode_starts))) == 1:
        yield "reward", f"the reward is {rewards[0]:g} in every step, and all episodes are equally long", WARNING


def _ends(stream: EnvironmentTrajectories) -> Found:
    """Finds flags of ends that are missing at the last step of an episode, or set elsewhere."""
    flags = np.concatenate([steps["terminated"] | steps["truncated"] for _, steps in _chunks(stream)])
    last = np.zeros(len(flags), bool)
    last[stream.episode_starts[1:] - 1] = True
    for mask, problem in (
        (flags & ~last, "is flagged as an end and is none"),
        (last & ~flags, "is the last of an episode and not flagged as its end"),
    ):
        if mask.any():
            first = int(np.flatnonzero(mask)[0])
            yield "ends", f"a step {problem} {int(mask.sum()):,} times, first {_place(stream, first)}"


def _duplicates(stream: EnvironmentTrajectories) -> Found:
    """Finds episodes that occur twice. If their seeds differ, the environment may just be deterministic."""
    seeds = of_episodes(stream.folder, "seed", 0)
    first_with: dict[bytes, int] = {}
    repeated: dict[str, list[tuple[int, int]]] = {ERROR: [], WARNING: []}
    for number in range(stream.num_episodes):
        found = digest(stream.slice(*stream.episode_starts[number : number + 2]))
        earlier = first_with.setdefault(found, number)
        if earlier != number:
            repeated[ERROR if seeds[earlier] == seeds[number] else WARNING].append((number, earlier))
    for level, pairs in repeated.items():
        if pairs:
            number, earlier = pairs[0]
            seeded = "with the same seed" if level == ERROR else "with another seed (a deterministic environment?)"
            yield (
                "duplicates",
                f"{len(pairs):,} of {stream.num_episodes:,} episodes repeat an earlier one {seeded}, "
                f"first {number}, which is {earlier} again",
                level,
            )


def _labels(stream: EnvironmentTrajectories) -> Found:
    """Finds labels that differ from the action although nobody disturbed the reference, or the data were imported."""
    behaviours = of_episodes(stream.folder, "behaviour", "")
    agree = np.concatenate([agreement(steps) for _, steps in _chunks(stream)])
    undisturbed = np.repeat(
        [not behaviour.startswith(OTHERS_ACT) for behaviour in behaviours], np.diff(stream.episode_starts)
    )
    wrong = undisturbed & ~agree
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        yield (
            "labels",
            f"the label differs from the action in {int(wrong.sum()):,} steps of episodes in which the reference alone "
            f"acts, first in {_place(stream, first)}",
        )


def agreement(steps: Steps) -> np.ndarray:
    """Whether the label is the action that was taken ``(T,)``."""
    agree = np.ones(len(steps["reward"]), bool)
    for path, label in steps["label"].items():
        agree &= (label == steps["action"][path]).reshape(len(label), -1).all(axis=1)
    return agree


def _columns(stream: EnvironmentTrajectories) -> Found:
    """Finds columns that nobody reads."""
    known = {*(column.name for column in stream.columns), "behaviour", "seed", *KNOWN_PER_EPISODE}
    foreign = sorted({name for path in shards(stream.folder) for name in pq.read_schema(path).names} - known)
    if foreign:
        yield "columns", f"the columns {foreign} are unknown and will not be read", WARNING


def digest(steps: Mapping[str, Any]) -> bytes:
    """16 bytes that are the same for two episodes only if they hold the same values.

    Args:
        steps: steps as `EnvironmentTrajectories.slice` returns them.
    """
    found = hashlib.blake2b(digest_size=16)
    for name in (*ROLES, *PER_STEP):
        leaves = steps[name] if isinstance(steps[name], dict) else {"": steps[name]}
        for path in sorted(leaves):
            values = leaves[path]
            text = values.dtype == object
            found.update("\x00".join(values).encode() if text else np.ascontiguousarray(values).tobytes())
            found.update(b"\x1f")
    return found.digest()
