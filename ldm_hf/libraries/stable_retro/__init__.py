"""Stable Retro: games of old consoles."""
