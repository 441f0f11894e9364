"""Environments of Grid2Op."""
