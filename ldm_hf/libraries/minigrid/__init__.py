"""Environments of MiniGrid."""
