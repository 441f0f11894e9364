"""Environments of bsuite."""
