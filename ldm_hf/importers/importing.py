"""Runs an import: from a source into a dataset folder, continued where it was interrupted, and read back at the end."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack, cast

import numpy as np
from tqdm.auto import tqdm

from ..errors import DatasetError
from ..spaces import Arrays, Steps, flatten, leaves, space_to_json
from ..trajectories.card import write_readme
from ..trajectories.reader import EnvironmentTrajectories
from ..trajectories.schema import EnvironmentInfo, Episode, Facts
from ..trajectories.validation import digest
from ..trajectories.writer import TrajectoryWriter, stored
from ..utils.installed import versions
from .arrays import as_array
from .base import LoggedEpisode, Source, reading
from .fitting import OUT_OF_BOUNDS, REFUSE, SKIP, WIDEN, Fitter, OutOfBoundsError, widened
from .report import Report

MOST_MAPPED = 64 * 2**20  # bytes


def import_trajectories(
    source: Source,
    folder: str | Path,
    progress: bool = True,
    out_of_bounds: str = REFUSE,
    bad_episodes: str = REFUSE,
    **description: Unpack[Facts],
) -> EnvironmentInfo:
    """Writes the episodes of a source as one config of a dataset.

    The label of a step is the action that was taken, since nothing better is known. If the import was interrupted, the
    same call continues it; whatever was written before an error is kept. What is there already is compared with the
    first and the last of the source's episodes, and everything that this call wrote is read back and compared. How the
    data were read is written into ``import.json`` beside them.

    Args:
        source: data of another tool, see `open_source`.
        folder: folder of the dataset.
        progress: show a bar that counts episodes.
        out_of_bounds: what to do with numbers outside of the bounds that the source declares: ``refuse`` them,
            ``clip`` them, ``widen`` the bounds, or ``skip`` the episode.
        bad_episodes: ``refuse`` an episode that cannot be used, or ``skip`` it.
        description: fields of `EnvironmentInfo` that the source does not know or that are to replace its own: name,
            task, domain, licence, ...

    Returns:
        What was written into ``environment.json``.

    Raises:
        DatasetError: if an episode does not fit the spaces (names it and the step), the config holds other data
            already, or the disk is full.
    """
    run = _Run(source, progress, out_of_bounds, bad_episodes, description)
    config = Path(folder) / run.info.name
    done = stored(config)[0]
    if done:
        run.check_same(config, done)
    digests = []
    with TrajectoryWriter(folder, run.info) as writer:
        for prepared in run.episodes(done):
            writer.write(prepared)
            digests.append(digest(prepared))
    _verify(config, digests, done, run.report.episodes, progress)
    run.finished().save(config)
    write_readme(folder)
    return run.info


def preview(
    source: Source,
    progress: bool = True,
    out_of_bounds: str = REFUSE,
    bad_episodes: str = REFUSE,
    **description: Unpack[Facts],
) -> Report:
    """The report of an import that writes nothing; see `import_trajectories` for what is given and raised."""
    run = _Run(source, progress, out_of_bounds, bad_episodes, description)
    for _ in run.episodes(0):
        pass
    return run.finished()


class _Run:
    """One import.

    Args:
        source: data of another tool.
        progress: show a bar that counts episodes.
        out_of_bounds: what to do with numbers outside of their bounds.
        bad_episodes: what to do with episodes that cannot be used.
        description: what the caller knows of the environment.

    Attributes:
        info: the content of ``environment.json``.
        report: what is known of the import so far.
    """

    def __init__(
        self, source: Source, progress: bool, out_of_bounds: str, bad_episodes: str, description: Facts
    ) -> None:
        for name, value, allowed in (
            ("out_of_bounds", out_of_bounds, OUT_OF_BOUNDS),
            ("bad_episodes", bad_episodes, (REFUSE, SKIP)),
        ):
            if value not in allowed:
                raise DatasetError(f"{name} should be one of {', '.join(allowed)}, is {value!r}.")
        self.source, self.progress = source, progress
        self.out_of_bounds, self.bad_episodes = out_of_bounds, bad_episodes
        self.report = source.report.begin()
        known: dict[str, Any] = {**source.description, **{key: value for key, value in description.items() if value}}
        self.report.name = known["name"]
        self.described = bool(self.report.columns)
        self.fitter = Fitter(source, self.report, out_of_bounds)
        if out_of_bounds == WIDEN:
            self._widen()
        asked = {"out_of_bounds": out_of_bounds, "bad_episodes": bad_episodes}
        asked = {name: value for name, value in asked.items() if value != REFUSE}
        self.info = EnvironmentInfo(
            **{"env_id": known["name"]} | known,
            observation_space=space_to_json(source.observation_space),
            action_space=space_to_json(source.action_space),
            reference="logged actions",
            collection={"imported": type(source).__name__, **source.origin, **asked},
            versions=versions(),
        )

    def finished(self) -> Report:
        """The report, with what the source has noted."""
        self.report.take_over(self.source.report)
        return self.report.finish()

    def check_same(self, config: Path, done: int) -> None:
        """Compares what is stored with the source: what identifies it, and its first and last episodes.

        Raises:
            DatasetError: if it is other data.
        """
        other = DatasetError(
            f"{config} holds other data already, or these data imported in another way; "
            "choose another name, or remove the folder."
        )
        if EnvironmentInfo.load(config).collection != json.loads(json.dumps(self.info.collection)):
            raise other
        stream = EnvironmentTrajectories(config)
        for number in sorted({0, done - 1}):
            found = None
            for found in itertools.islice(self._kept(Fitter(self.source, Report(), self.out_of_bounds), number), 1):
                if digest(found) != digest(stream.slice(*stream.episode_starts[number : number + 2])):
                    raise other
            if found is None:
                raise other
        for steps in _read_back(config, 0):
            self.report.see(cast(Episode, {**steps, "behaviour": "", "seed": 0}), self.described)

    def episodes(self, start: int) -> Iterator[Episode]:
        """The episodes that are kept, from number ``start`` of them on."""
        total = self.source.num_episodes
        with tqdm(total=total, initial=start, desc="import", unit=" episodes", disable=not self.progress) as bar:
            for episode in self._kept(self.fitter, start):
                self.report.see(episode, self.described)
                yield episode
                bar.update()

    def _kept(self, fitter: Fitter, start: int) -> Iterator[Episode]:
        """The episodes that can be used, laid into the spaces by ``fitter``.

        If some are left out, the number of an episode here is not that in the source, which is read from its beginning
        then.
        """
        skipping = SKIP in (self.out_of_bounds, self.bad_episodes)
        number, passed = (0, start) if skipping else (start, 0)
        while number < self.source.num_episodes:
            try:
                with reading(f"{self.report.name}, episode {number}"):
                    for episode in self.source.episodes(number):
                        prepared = self._prepared(fitter, episode, number)
                        number += 1
                        if prepared is not None:
                            passed -= 1
                            if passed < 0:
                                yield prepared
                    break
            except DatasetError as error:
                if self.bad_episodes != SKIP:
                    raise
                self._leave_out(number, error)
                number += 1
        if number != self.source.num_episodes:
            raise DatasetError(
                f"{self.report.name}: the source has {self.source.num_episodes} episodes, {number} could be read."
            )

    def _prepared(self, fitter: Fitter, episode: LoggedEpisode, number: int) -> Episode | None:
        """An episode that fits, or None for one to be left out."""
        try:
            return fitter.fit(episode, f"{self.report.name}, episode {number}")
        except DatasetError as error:
            if self.bad_episodes != SKIP and not (self.out_of_bounds == SKIP and isinstance(error, OutOfBoundsError)):
                raise
            self._leave_out(number, error)
            return None

    def _leave_out(self, number: int, error: DatasetError) -> None:
        """Notes why an episode is left out."""
        self.report.skipped.setdefault(number, str(error))

    def _widen(self) -> None:
        """Gives the Boxes of the source's spaces room for all numbers, and says by how much."""
        limits: dict[str, tuple[Arrays, Arrays]] = {"observation": ({}, {}), "action": ({}, {})}
        roles = {"observation": self.source.observation_space, "action": self.source.action_space}
        for number, episode in enumerate(self.source.episodes(0)):
            for role, space in roles.items():
                parts = flatten(space, episode[role])  # type: ignore[literal-required]
                for leaf in leaves(space):
                    values = as_array(parts[leaf.path], f"{self.report.name}, episode {number}: {role}")
                    if values.dtype.kind in "biuf" and np.isfinite(values).all() and len(values):
                        for found, extreme, joined in zip(
                            limits[role],
                            (values.min(axis=0), values.max(axis=0)),
                            (np.minimum, np.maximum),
                            strict=True,
                        ):
                            found[leaf.path] = joined(found.get(leaf.path, extreme), extreme)
        for role, space in roles.items():
            wider = widened(space, *limits[role])
            if wider != space:
                self.report.notes.append(f"{role}: bounds widened from {space} to {wider}")
                setattr(self.source, f"{role}_space", wider)


def _verify(config: Path, digests: list[bytes], start: int, expected: int, progress: bool) -> None:
    """Reads back what was written.

    Args:
        config: folder of the environment.
        digests: digests of the episodes that were written.
        start: number of the first of them.
        expected: number of episodes that were to be kept.
        progress: show a bar.

    Raises:
        DatasetError: if it is not what was read from the source.
    """
    found = EnvironmentTrajectories(config).num_episodes
    if found != expected:
        raise DatasetError(f"{config} has {found} episodes, the source {expected}; remove it and import again.")
    written = tqdm(digests, desc="verify", unit=" episodes", disable=not progress)
    for number, (wanted, steps) in enumerate(zip(written, _read_back(config, start), strict=True), start):
        if digest(steps) != wanted:
            raise DatasetError(
                f"{config}: episode {number} reads otherwise than it was written; is the disk all right?"
            )


def _read_back(config: Path, start: int) -> Iterator[Steps]:
    """The stored episodes from number ``start`` on.

    What was read of a file that is mapped counts as memory of this process, until it is opened anew.
    """
    stream, mapped = EnvironmentTrajectories(config), 0
    size = sum(column.size * np.dtype(column.dtype).itemsize for column in stream.columns)
    for first, last in itertools.pairwise(stream.episode_starts[start:].tolist()):
        if mapped > MOST_MAPPED:
            stream, mapped = EnvironmentTrajectories(config), 0
        yield stream.slice(first, last)
        mapped += size * (last - first)
