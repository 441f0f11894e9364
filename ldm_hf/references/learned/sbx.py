"""Policies that learn in JAX and act in PyTorch.

They learn by SBX (the package sbx-rl), which has the algorithms of Stable-Baselines3 (Raffin et al. 2021) in JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .algorithms import new_network
from .learners import Descent
from .spaces import Adapter

if TYPE_CHECKING:
    from stable_baselines3.common.policies import BasePolicy

EPSILON = 1e-3  # that the variance of a batch is raised by in CrossQ's actor


class JaxDescent(Descent):
    """An algorithm of SBX: a step of SAC, TQC or CrossQ costs half of what it does in PyTorch, after it is compiled."""

    def policy(self) -> BasePolicy:
        """A copy of the actor in PyTorch, so that neither acting nor loading needs JAX."""
        return actor_in_torch(self.model.policy, self.adapter)


def actor_in_torch(policy: Any, adapter: Adapter) -> BasePolicy:
    """SAC's network in PyTorch that acts as an actor of SBX does.

    TQC's actor is SAC's. CrossQ's (Bhatt et al. 2024, arXiv 1902.05605) standardises its inputs and hidden layers by
    statistics that no longer change when it acts: what is linear becomes part of the layer behind it.

    Args:
        policy: policy of SBX.
        adapter: adapter of the environment.
    """
    state, widths = policy.actor_state, policy.net_arch_pi
    parts, statistics = state.params.get("params", state.params), getattr(state, "batch_stats", {})
    made = new_network("sac", adapter, widths)
    actor: Any = made.actor
    hidden = [layer for layer in actor.latent_pi if isinstance(layer, torch.nn.Linear)]
    for number, layer in enumerate([*hidden, actor.mu, actor.log_std]):
        kernel, bias = _numbers(parts[f"Dense_{number}"], "kernel", "bias")
        norm = f"BatchRenorm_{min(number, len(widths))}"  # the last two layers read the same
        if norm in parts:
            scale, shift = _numbers(parts[norm], "scale", "bias")
            mean, variance = _numbers(statistics[norm], "mean", "var")
            scale /= np.sqrt(variance + EPSILON)
            kernel, bias = scale[:, None] * kernel, bias + (shift - scale * mean) @ kernel
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.T))
            layer.bias.copy_(torch.from_numpy(bias))
    made.eval()
    return made


def _numbers(part: Any, *names: str) -> list[np.ndarray]:
    """Arrays of a part of a network, in double precision."""
    return [np.array(part[name], np.float64) for name in names]
