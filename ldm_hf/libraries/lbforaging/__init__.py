"""Environments of level-based foraging."""
