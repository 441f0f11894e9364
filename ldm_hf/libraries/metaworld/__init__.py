"""Environments of Meta-World."""
