"""Environments of Stable Retro."""
