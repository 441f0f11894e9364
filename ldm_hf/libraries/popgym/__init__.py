"""Environments of POPGym."""
