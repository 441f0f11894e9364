"""Environments of MinAtar."""
