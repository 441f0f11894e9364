"""The simulated networks of NASim (Schwartz & Kurniawati 2019), with flat spaces and seeds of their own."""

from __future__ import annotations

from typing import Any

import gymnasium

from ldm_hf.environments.wrappers import GlobalRandomState


def make_nasim(
    scenario: str = "", fully_obs: bool = True, render_mode: str | None = None, **network: Any
) -> gymnasium.Env:
    """Makes a network with flat actions and observations.

    Args:
        scenario: name of a benchmark of the library; if empty, a network is generated.
        fully_obs: whether the state of the whole network is observed; otherwise only what the last action revealed.
        render_mode: not used.
        network: arguments of ``nasim.generate``; equal values give equal networks.
    """
    import nasim

    view = {"fully_obs": fully_obs, "flat_actions": True, "flat_obs": True}
    if scenario:
        env = nasim.make_benchmark(scenario, seed=0, **view)
    else:
        env = nasim.generate(**({"seed": 0} | network), **view)
    # NASim refuses NumPy's integers
    return GlobalRandomState(gymnasium.wrappers.TransformAction(env, int, env.action_space))
