"""Environments of pvlib."""
