"""A wrapper that keeps an environment of MO-Gymnasium in its observation space."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.spaces import Observation


class BottleFlags(gymnasium.ObservationWrapper):
    """Says whether bottles were dropped at a place, as the library's space does; it counts them."""

    def observation(self, observation: Observation) -> Observation:
        return observation | {"bottles_dropped": np.minimum(observation["bottles_dropped"], 1).astype(np.int8)}
