"""Environments of SUMO-RL."""
