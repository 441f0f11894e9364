"""Environments of RWARE."""
