"""Environments of Jumanji."""
