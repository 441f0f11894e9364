"""Environments of panda-gym."""
