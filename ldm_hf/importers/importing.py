"""Runs an import: from a source into a dataset folder, continued where it was interrupted, and read back at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Unpack

import gymnasium
import numpy as np
from gymnasium import spaces
from tqdm.auto import tqdm

from ..errors import DatasetError, SpaceMismatchError
from ..spaces import Action, Arrays, Observation, flatten, leaf_array, leaves, outside, space_to_json
from ..trajectories.card import write_readme
from ..trajectories.reader import EnvironmentTrajectories
from ..trajectories.schema import EnvironmentInfo, Episode, Facts
from ..trajectories.validation import digest
from ..trajectories.writer import TrajectoryWriter, stored
from ..utils.installed import versions
from .base import LoggedEpisode, Source

LARGEST = 2**31 - 1  # most bytes of an episode's observations: Parquet lists are counted with 32 bits


def import_trajectories(
    source: Source, folder: str | Path, progress: bool = True, **description: Unpack[Facts]
) -> EnvironmentInfo:
    """Writes the episodes of a source as one config of a dataset.

    The label of a step is the action that was taken, since nothing better is known. If the import was interrupted, the
    same call continues it; whatever was written before an error is kept. Everything that this call wrote is read back
    and compared.

    Args:
        source: data of another tool, see `open_source`.
        folder: folder of the dataset.
        progress: show a bar that counts episodes.
        description: fields of `EnvironmentInfo` that the source does not know or that are to replace its own: name,
            task, domain, licence, ...

    Returns:
        What was written into ``environment.json``.

    Raises:
        DatasetError: if an episode does not fit the spaces (names it and the step), the config holds other data
            already, or the disk is full.
    """
    info = _info(source, description)
    config = Path(folder) / info.name
    done = stored(config)[0]
    if done and EnvironmentInfo.load(config).collection != json.loads(json.dumps(info.collection)):
        raise DatasetError(
            f"{config} holds other data already, or these data imported in another way; "
            "choose another name, or remove the folder."
        )
    digests = []
    with (
        TrajectoryWriter(folder, info) as writer,
        tqdm(total=source.num_episodes, initial=done, desc="import", unit=" episodes", disable=not progress) as bar,
    ):
        for number, episode in enumerate(source.episodes(done), done):
            prepared = _prepare(source, episode, f"{info.name}, episode {number}")
            writer.write(prepared)
            digests.append(digest(prepared))
            bar.update()
    _verify(config, digests, done, source.num_episodes, progress)
    write_readme(folder)
    return info


def _info(source: Source, description: Facts) -> EnvironmentInfo:
    """The content of ``environment.json``; ``description`` takes precedence over what the source says."""
    known: dict[str, Any] = {**source.description, **{key: value for key, value in description.items() if value}}
    return EnvironmentInfo(
        **{"env_id": known["name"]} | known,
        observation_space=space_to_json(source.observation_space),
        action_space=space_to_json(source.action_space),
        reference="logged actions",
        collection={"imported": type(source).__name__, **source.origin},
        versions=versions(),
    )


def _prepare(source: Source, episode: LoggedEpisode, where: str) -> Episode:
    """An episode as `TrajectoryWriter.write` takes it, every value a member of its space.

    Raises:
        DatasetError: if a value cannot be one; names the step.
    """
    observation = _fit_all(source.observation_space, episode["observation"], "observation", where)
    action = _fit_all(source.action_space, episode["action"], "action", where)
    if sum(values.nbytes for values in observation.values()) > LARGEST:
        raise DatasetError(
            f"{where} has more than 2 GiB of observations; make its pictures smaller (--image-size 84)."
        )
    reward = np.asarray(episode["reward"], np.float32)
    if not np.isfinite(reward).all():
        step = int(np.flatnonzero(~np.isfinite(reward))[0])
        raise DatasetError(
            f"{where}: the reward of step {step} is {episode['reward'][step]}; repair or drop this episode."
        )
    terminated, truncated = np.asarray(episode["terminated"], bool), np.asarray(episode["truncated"], bool)
    over = terminated | truncated
    if over[:-1].any():
        raise DatasetError(
            f"{where}: step {int(np.flatnonzero(over)[0])} of {len(over)} ends the episode already; cut it there."
        )
    if len(over) and not over[-1]:  # nobody recorded why it ends
        truncated = np.arange(len(over)) == len(over) - 1
    return {
        "observation": observation,
        "action": action,
        "label": action,
        "reward": reward,
        "terminated": terminated,
        "truncated": truncated,
        "behaviour": episode.get("behaviour", "logged"),
        "seed": episode.get("seed", 0),
    }


def _fit_all(space: gymnasium.Space[object], values: Observation | Action, role: str, where: str) -> Arrays:
    """The values of every leaf in its type.

    Raises:
        DatasetError: if a leaf is missing, or a value is no member of it.
    """
    try:
        parts = flatten(space, values)
    except SpaceMismatchError as error:
        raise DatasetError(f"{where}: {role}: {error}") from error
    return {
        leaf.path: _fit(leaf.space, parts[leaf.path], f"{where}: {role} {leaf.path}".rstrip())
        for leaf in leaves(space)
    }


def _fit(space: gymnasium.Space[object], values: object, place: str) -> np.ndarray:
    """The values of one leaf in its type.

    Raises:
        DatasetError: if they have another shape, or one is no member of the space; names the step.
    """
    given = np.asarray(values, dtype=object) if isinstance(space, spaces.Text) else np.asarray(values)
    if np.issubdtype(space.dtype, np.floating):  # bounds hold in the precision of the space
        given = leaf_array(space, given)
    wanted = () if space.shape is None or given.dtype == object else tuple(space.shape)
    if given.shape[1:] != wanted:
        raise DatasetError(f"{place} has steps of shape {given.shape[1:]}, the space {space} has {wanted}.")
    wrong = outside(space, given)
    if wrong.any():
        step = int(np.flatnonzero(wrong)[0])
        raise DatasetError(
            f"{place}: step {step} is {str(given[step])[:80]}, no member of {space} ({int(wrong.sum())} such steps); "
            "repair these values, or describe the space that they are in."
        )
    return leaf_array(space, given)


def _verify(config: Path, digests: list[bytes], start: int, expected: int, progress: bool) -> None:
    """Reads back what was written.

    Args:
        config: folder of the environment.
        digests: digests of the episodes that were written.
        start: number of the first of them.
        expected: number of episodes in the source.
        progress: show a bar.

    Raises:
        DatasetError: if it is not what was read from the source.
    """
    stream = EnvironmentTrajectories(config)
    if stream.num_episodes != expected:
        raise DatasetError(
            f"{config} has {stream.num_episodes} episodes, the source {expected}; remove it and import again."
        )
    for number, wanted in enumerate(tqdm(digests, desc="verify", unit=" episodes", disable=not progress), start):
        if digest(stream.slice(*stream.episode_starts[number : number + 2])) != wanted:
            raise DatasetError(
                f"{config}: episode {number} reads otherwise than it was written; is the disk all right?"
            )
