"""What is right in NeuroGym's tasks."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation


class GroundTruth(Reference):
    """Does what the task's own record of the trial calls right, whatever noise lies over the stimulus."""

    name = "ground_truth"
    method = "scripted"
    worlds = ("TrialsEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        space = env.action_space
        right = inside(env).task.gt_now
        return np.int64(right) if isinstance(space, gymnasium.spaces.Discrete) else np.asarray(right, space.dtype)
