"""Job-shop scheduling by JSSEnv (Tassel et al. 2021) on the instances of Taillard (1993) that it ships."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.spaces import Action, Arrays, Info


class JobShopEnv(gymnasium.Env):
    """Give the next job to a machine, or wait; an illegal action becomes the next legal one.

    Nothing in an instance is left to chance.

    Args:
        instance: name of the instance, such as ``ta01``.
        render_mode: not used.
    """

    def __init__(self, instance: str, render_mode: str | None = None) -> None:
        import JSSEnv.envs

        self.render_mode = render_mode
        path = Path(JSSEnv.envs.__file__).parent / "instances" / instance
        self._shop = JSSEnv.envs.JssEnv({"instance_path": str(path)})
        self.action_space = spaces.Discrete(self._shop.jobs + 1)
        # what the library calls normalised is not always below 1
        self.observation_space = spaces.Dict(
            {
                "legal": spaces.MultiBinary(self._shop.jobs + 1),
                "jobs": spaces.Box(-np.inf, np.inf, (self._shop.jobs, 7), np.float32),
            }
        )

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Arrays, Info]:
        super().reset(seed=seed)
        self._shop.reset()
        return self._observe()

    def step(self, action: Action) -> tuple[Arrays, float, bool, bool, Info]:
        legal = np.flatnonzero(self._shop.legal_actions)
        chosen = legal[np.searchsorted(legal, int(action)) % len(legal)]
        _, reward, over, *_ = self._shop.step(int(chosen))
        observation, info = self._observe()
        return observation, float(reward), bool(over), False, info

    def _observe(self) -> tuple[Arrays, Info]:
        seen = self._shop._get_current_state_representation()
        legal = np.asarray(seen["action_mask"], np.int8)
        return {"legal": legal, "jobs": seen["real_obs"].astype(np.float32)}, {"action_mask": legal}
