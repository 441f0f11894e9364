"""Environments of the Arcade Learning Environment."""
