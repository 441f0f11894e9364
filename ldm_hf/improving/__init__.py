"""Improvement in rounds: evaluate, collect where the model lags, train on, keep the better weights."""

from .comparing import Comparison, compare
from .options import Improvement
from .picking import Standing, need, pick, shares
from .rounds import improve

__all__ = ["Comparison", "Improvement", "Standing", "compare", "improve", "need", "pick", "shares"]
