"""Environments of or-gymnasium."""
