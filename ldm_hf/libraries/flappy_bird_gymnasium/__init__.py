"""flappy-bird-gymnasium: the game Flappy Bird."""
