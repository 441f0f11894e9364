"""Estimates the time and disk space that a collection needs, from a few steps in every environment."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import SupportsFloat

import gymnasium
import pyarrow.parquet as pq
from gymnasium.wrappers import TimeLimit

from ..environments import EnvironmentSpec
from ..references import Reference, known_scores, load_reference
from ..spaces import Action, Info, Observation
from ..trajectories import TrajectoryWriter
from ..trajectories.writer import shards, stored
from .collecting import SCORE_EPISODES, Plan, actor_of, environment_info, open_lanes
from .recording import record

EPISODE = 50  # an episode is cut off after so many steps
STEPS = 2_000  # most steps to play, and a twentieth of what is to be collected
SECONDS = 1.0  # longest time to play, apart from the first episode
UNLIMITED = 1_000  # assumed length of an episode that does not end and has no time limit


@dataclass(frozen=True)
class Estimate:
    """The cost of one environment.

    Args:
        steps: steps to collect.
        scored: steps that measuring random actions and the reference takes beside them.
        seconds_to_make: time to make the environments and their references.
        steps_per_second: speed, labels included.
        bytes_per_step: size on the disk.
    """

    steps: int
    scored: int
    seconds_to_make: float
    steps_per_second: float
    bytes_per_step: float

    @property
    def seconds(self) -> float:
        """Time that one process takes."""
        return 2 * self.seconds_to_make + (self.steps + self.scored) / self.steps_per_second

    @property
    def bytes(self) -> float:
        """Size on the disk."""
        return self.steps * self.bytes_per_step


COMPLETE = Estimate(steps=0, scored=0, seconds_to_make=0.0, steps_per_second=1.0, bytes_per_step=0.0)


class _Probe(TimeLimit):
    """Cuts episodes off and counts steps."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env, EPISODE)
        self.steps = 0

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, Info]:
        self.steps += 1
        return super().step(action)


def estimate_environment(
    spec: EnvironmentSpec, plan: Plan, make_reference: Callable[[], Reference] | None = None
) -> Estimate:
    """Plays a few steps as `collect_environment` would, and writes them into a folder that is removed again.

    Raises:
        LDMError: what `collect_environment` raises.
    """
    steps, started = plan.missing(spec), time.perf_counter()
    if not steps:
        return COMPLETE
    known = bool(stored(Path(plan.folder) / spec.name)[0])
    if make_reference is None:
        known = known or known_scores(spec, plan.references_folder) is not None
        make_reference = partial(load_reference, spec, plan.references_folder)
    lanes = open_lanes(spec, make_reference, several=plan.student is not None)
    try:
        info = environment_info(spec, lanes[0], plan, {}, None)
        limit = getattr(lanes[0].env.spec, "max_episode_steps", None) or UNLIMITED
        probes = [_Probe(lane.env) for lane in lanes]
        for lane, probe in zip(lanes, probes, strict=True):
            lane.env = probe
        actor = actor_of(spec, plan, lanes)
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            lengths = []
            with TrajectoryWriter(folder, info) as writer:
                for episode in record(lanes, actor, plan.seed, min(STEPS, max(steps // 20, 1))):
                    writer.write(episode)
                    lengths.append(len(episode["reward"]))
                    if time.perf_counter() - began > SECONDS:
                        break
                taken = time.perf_counter() - began
            size = _bytes(Path(folder) / spec.name)
    finally:
        for lane in lanes:
            lane.close()
    longest = max(lengths)
    length = sum(lengths) / len(lengths) if longest < EPISODE else limit
    scored = 0 if known else int(2 * max(SCORE_EPISODES, spec.episodes) * length)
    rate = sum(probe.steps for probe in probes) / taken
    if plan.seconds is not None:
        steps = min(steps, int(rate * plan.seconds) + 1)
    return Estimate(steps, scored, began - started, rate, size / sum(lengths))


def _bytes(folder: Path) -> int:
    """Size of the data of a config, without what the files need beside them, which does not grow with the steps."""
    groups = [
        metadata.row_group(index)
        for metadata in map(pq.read_metadata, shards(folder))
        for index in range(metadata.num_row_groups)
    ]
    return sum(group.column(column).total_compressed_size for group in groups for column in range(group.num_columns))
