"""MiniHack: small levels in the world of NetHack."""
