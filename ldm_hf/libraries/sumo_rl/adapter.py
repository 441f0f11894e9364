"""The traffic lights of a network, all in one environment, by SUMO-RL (Alegre 2019) and SUMO (Lopez et al. 2018)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.spaces import Action, Info

if TYPE_CHECKING:
    from sumo_rl import TrafficSignal


class TrafficLights(gymnasium.Env):
    """A network of junctions whose green phases are chosen every five seconds.

    The observation joins those of all lights: which phase is green, whether it may be left, and density and queue of
    every lane as shares. The action is the next green phase of every light; the reward is the sum of the lights'
    rewards. What is simulated follows from the seed.

    Args:
        network: file in the library's folder ``nets``, without ``.net.xml``.
        routes: file in the same folder, without ``.rou.xml``.
        begin: second of the day when an episode begins.
        seconds: length of an episode in seconds.
        reward: name of the library's reward of one light.
        render_mode: must be None; nothing is drawn.
    """

    def __init__(
        self,
        network: str,
        routes: str,
        begin: int = 0,
        seconds: int = 1000,
        reward: str = "diff-waiting-time",
        render_mode: str | None = None,
    ) -> None:
        import sumo

        os.environ.setdefault("SUMO_HOME", sumo.SUMO_HOME)  # sumo_rl cannot be imported without it
        import sumo_rl

        nets = Path(sumo_rl.__file__).with_name("nets")
        self.network = sumo_rl.SumoEnvironment(
            str(nets / f"{network}.net.xml"),
            str(nets / f"{routes}.rou.xml"),
            begin_time=begin,
            num_seconds=seconds,
            reward_fn=reward,
            sumo_seed=0,
            sumo_warnings=False,
            add_system_info=False,
            add_per_agent_info=False,
            additional_sumo_cmd="--no-step-log",
        )
        lights = self.lights
        size = sum(light.observation_space.shape[0] for light in lights)
        self.observation_space = spaces.Box(0, 1, (size,), np.float32)
        phases = [int(light.action_space.n) for light in lights]
        self.action_space = spaces.Discrete(phases[0]) if len(phases) == 1 else spaces.MultiDiscrete(phases)

    @property
    def lights(self) -> list[TrafficSignal]:
        """The library's traffic signals; every episode has new ones."""
        return [self.network.traffic_signals[name] for name in self.network.ts_ids]

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, Info]:
        super().reset(seed=seed)
        self.network.reset(seed=int(self.np_random.integers(2**31)))
        return self._observation(), {}

    def step(self, action: Action) -> tuple[np.ndarray, float, bool, bool, Info]:
        chosen = dict(zip(self.network.ts_ids, np.atleast_1d(action).tolist(), strict=True))
        _, _, done, _ = self.network.step(chosen)
        return self._observation(), float(sum(self.network.rewards.values())), False, done["__all__"], {}

    def close(self) -> None:
        self.network.close()

    def _observation(self) -> np.ndarray:
        return np.concatenate([self.network.observations[name] for name in self.network.ts_ids])
