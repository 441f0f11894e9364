"""Reference policies that are trained by reinforcement learning."""
