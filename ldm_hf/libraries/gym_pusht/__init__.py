"""Environments of gym-pusht."""
