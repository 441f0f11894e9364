"""Reference policies that reinforcement learning has made."""
