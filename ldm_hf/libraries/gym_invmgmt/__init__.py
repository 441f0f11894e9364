"""Environments of gym-invmgmt."""
