"""Reference policies: what the model is compared with and learns from."""

from .base import Reference
from .loading import load_reference, method_of

__all__ = ["Reference", "load_reference", "method_of"]
