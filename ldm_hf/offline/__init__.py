"""Judges a model on logged decisions, where there is no environment to play in."""

from .evaluating import LogResults, evaluate_logs
from .report import draw_logs, headline, logs_report

__all__ = ["LogResults", "draw_logs", "evaluate_logs", "headline", "logs_report"]
