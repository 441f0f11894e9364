"""Environments of gym-electric-motor."""
