"""What is published: the repo of a model, its card, uploads."""

from .export import export_model
from .model_card import write_card
from .publishing import push

__all__ = ["export_model", "push", "write_card"]
