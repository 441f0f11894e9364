"""Reference policies that are trained by reinforcement learning or found by random search."""
