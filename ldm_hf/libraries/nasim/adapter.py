"""NASim (Schwartz & Kurniawati 2019): penetration tests of simulated networks."""

from __future__ import annotations

from typing import Any

import gymnasium

from ldm_hf.environments.wrappers import GlobalRandomState


def make_nasim(
    scenario: str = "", fully_obs: bool = True, render_mode: str | None = None, **network: Any
) -> gymnasium.Env:
    """A network with flat actions and observations.

    Args:
        scenario: a benchmark of the library, by its name.
        fully_obs: show the state of the whole network; otherwise only what the last action revealed.
        render_mode: not used.
        network: of ``nasim.generate``, for a network that is generated, always the same one from the same values.
    """
    import nasim

    view = {"fully_obs": fully_obs, "flat_actions": True, "flat_obs": True}
    env = (
        nasim.make_benchmark(scenario, seed=0, **view)
        if scenario
        else nasim.generate(**({"seed": 0} | network), **view)
    )
    # NASim refuses NumPy's integers
    return GlobalRandomState(gymnasium.wrappers.TransformAction(env, int, env.action_space))
