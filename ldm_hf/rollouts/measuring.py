"""Roll-outs with fixed seeds: `rollout` measures random actions, reference policies and agents alike."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np
from tqdm.auto import tqdm

from ..errors import LDMError
from ..spaces import Action
from ..utils.parallel import report
from .lane import Lane, open_lane
from .policies import Policy


def rollout(
    make_env: Callable[[], gymnasium.Env],
    policy: Policy,
    episodes: int = 20,
    seed: int = 0,
    num_envs: int = 10,
    name: str = "environment",
    progress: bool = False,
) -> np.ndarray:
    """Plays episodes with fixed seeds and returns their returns.

    Episode ``k`` is always reset with ``seed + k``, however many environments run side by side: lane ``i`` of ``n``
    plays the episodes ``i``, ``i + n``, ``i + 2n``, ... Every episode that begins is counted, so short episodes are
    not favoured.

    Args:
        make_env: function that makes one environment; called once per lane.
        policy: policy to measure.
        episodes: number of episodes.
        seed: seed of the first episode.
        num_envs: number of environments in lock step.
        name: name of the environment, for messages and progress.
        progress: show a progress bar.

    Returns:
        Undiscounted returns ``(episodes,)`` float64, in the order of the seeds.

    Raises:
        EnvironmentFailure: if the environment raises an error of its own, or an observation is outside its space.
        RewardError: if a reward is NaN, infinite or beyond 32 bits.
    """
    if episodes < 1 or num_envs < 1:
        raise LDMError(f"{name}: episodes and num_envs must be at least 1, got {episodes} and {num_envs}")
    count = min(num_envs, episodes)
    returns = np.zeros(episodes)
    episode = np.arange(count)
    lanes: list[Lane] = []

    def begin(index: int) -> None:
        lanes[index].begin(seed + int(episode[index]))
        policy.begin(index, lanes[index])

    def act() -> list[Action]:
        try:
            return policy.act(lanes)
        except Exception:
            check()  # the cause may be what the policy was given
            raise

    def check() -> None:
        for lane in lanes:
            lane.check()

    try:
        for _ in range(count):
            lanes.append(open_lane(make_env, name))
        policy.start(lanes)
        for index in range(count):
            begin(index)
        with tqdm(total=episodes, desc=name, unit="episode", disable=not progress, leave=False) as bar:
            while any(lane.active for lane in lanes):
                actions = act()
                report(0)  # a sign of life
                for index, lane in enumerate(lanes):
                    if not lane.active:
                        continue
                    over = lane.step(actions[index])
                    returns[episode[index]] += lane.reward
                    if over:
                        bar.update()
                        episode[index] += count
                        lane.active = bool(episode[index] < episodes)
                        if lane.active:
                            begin(index)
        check()
    finally:
        for lane in lanes:
            lane.close()
    return returns
