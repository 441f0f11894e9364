"""Atari games by rule."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference


class AtariFreeway(Reference):
    """Always up: crossing at once scores about as well as dodging, since a car only pushes back."""

    name = "atari_freeway"
    method = "scripted"

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return np.int64(1)
