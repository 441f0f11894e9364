"""Job-shop scheduling (Tassel et al. 2021) on the instances of Taillard (1993) that the library ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium


class _LegalOnly(gymnasium.Wrapper):
    """The mask of legal actions, which the library puts into the observation, in ``info``, too; an illegal action becomes the next legal one."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        return self._with_mask(observation, info)

    def step(self, action: Any) -> Any:
        mask = self._mask
        chosen = next(a % len(mask) for a in range(int(action), int(action) + len(mask)) if mask[a % len(mask)])
        observation, reward, terminated, truncated, info = self.env.step(chosen)
        observation, info = self._with_mask(observation, info)
        return observation, float(reward), terminated, truncated, info

    def _with_mask(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self._mask = observation["action_mask"]
        return observation, info | {"action_mask": self._mask}


def make_job_shop(instance: str, render_mode: str | None = None) -> gymnasium.Env:
    """An instance by its name, such as ``ta01``."""
    import JSSEnv.envs

    path = Path(JSSEnv.envs.__file__).parent / "instances" / instance
    return _LegalOnly(JSSEnv.envs.JssEnv({"instance_path": str(path)}))
