"""Suites: what others have measured, environment by environment, and how models and references compare."""

from .playing import evaluate_suite
from .report import markdown_report, print_report
from .scores import SuiteResults
from .tables import Suite, SuiteTask, load_suite, suite_names

__all__ = [
    "Suite",
    "SuiteResults",
    "SuiteTask",
    "evaluate_suite",
    "load_suite",
    "markdown_report",
    "print_report",
    "suite_names",
]
