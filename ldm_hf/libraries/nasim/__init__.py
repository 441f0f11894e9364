"""Environments of NASim."""
