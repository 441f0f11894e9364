"""Evaluation: roll-outs with fixed seeds, normalised scores, tables and curves."""

from ..rollouts.measuring import AgentPolicy, Policy, RandomPolicy, ReferencePolicy, rollout
from .evaluating import HELD_OUT_SEED, Target, evaluate
from .report import markdown_report, print_report, threshold_curve
from .scores import measurement, normalised_score, save_results, summarise

__all__ = [
    "HELD_OUT_SEED",
    "AgentPolicy",
    "Policy",
    "RandomPolicy",
    "ReferencePolicy",
    "Target",
    "evaluate",
    "markdown_report",
    "measurement",
    "normalised_score",
    "print_report",
    "rollout",
    "save_results",
    "summarise",
    "threshold_curve",
]
