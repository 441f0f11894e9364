"""Reference policies: the model is compared with them and learns from them."""

from .base import Reference
from .loading import known_scores, load_reference, method_of
from .scores import reference_list, reference_scores

__all__ = ["Reference", "known_scores", "load_reference", "method_of", "reference_list", "reference_scores"]
