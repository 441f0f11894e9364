"""Environments of flappy-bird-gymnasium."""
