"""Environments of highway-env."""
