"""A wrapper that makes MinAtar (Young & Tian 2019) reproducible."""

from __future__ import annotations

import gymnasium

from ldm_hf.spaces import Info, Observation


class ForgetLastAction(gymnasium.Wrapper):
    """Clears the last action when an episode begins.

    MinAtar sometimes repeats the last action; in the first step, that would be one of the episode before, which does
    not follow from the seed.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Observation, Info]:
        self.get_wrapper_attr("game").last_action = 0
        return self.env.reset(seed=seed, options=options)
