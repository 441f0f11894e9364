"""Environments of the NetHack Learning Environment."""
