"""Evaluation: one model in many environments, normalised scores, tables and curves."""

from .evaluating import EvaluationOptions, Target, evaluate
from .report import markdown_report, print_report, threshold_curve
from .scores import Results, summarise

__all__ = [
    "EvaluationOptions",
    "Results",
    "Target",
    "evaluate",
    "markdown_report",
    "print_report",
    "summarise",
    "threshold_curve",
]
