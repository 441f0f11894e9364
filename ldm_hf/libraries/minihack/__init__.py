"""Environments of MiniHack."""
