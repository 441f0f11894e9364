"""Environments of JSSEnv."""
