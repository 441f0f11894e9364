"""Collection: a reference policy or a student acts, the reference policy labels every step."""

from .collecting import Plan, collect

__all__ = ["Plan", "collect"]
