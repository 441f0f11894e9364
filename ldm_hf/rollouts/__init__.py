"""Roll-outs: policies act in environments, episodes have fixed seeds."""

from .measuring import rollout
from .policies import AgentPolicy, Policy, RandomPolicy, ReferencePolicy
from .returns import HELD_OUT_SEED, measurement, normalised_score

__all__ = [
    "HELD_OUT_SEED",
    "AgentPolicy",
    "Policy",
    "RandomPolicy",
    "ReferencePolicy",
    "measurement",
    "normalised_score",
    "rollout",
]
