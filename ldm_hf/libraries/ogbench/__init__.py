"""Environments of OGBench."""
