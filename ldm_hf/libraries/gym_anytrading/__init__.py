"""Environments of gym-anytrading."""
