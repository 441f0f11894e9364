"""Environments of the DeepMind Control Suite."""
