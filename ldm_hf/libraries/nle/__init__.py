"""The NetHack Learning Environment: the game NetHack."""
