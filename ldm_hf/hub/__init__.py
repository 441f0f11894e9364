"""What is published: the repo of a model, its card, uploads."""

from .model_card import export_model, write_card
from .publishing import push

__all__ = ["export_model", "push", "write_card"]
