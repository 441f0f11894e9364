"""Environments of Crafter."""
