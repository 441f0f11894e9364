"""Evaluation: one model in many environments, normalised scores, tables and curves."""

from .evaluating import Target, evaluate
from .report import markdown_report, print_report, threshold_curve
from .scores import summarise

__all__ = ["Target", "evaluate", "markdown_report", "print_report", "summarise", "threshold_curve"]
