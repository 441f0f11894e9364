"""Roll-outs: policies act in environments, episodes have fixed seeds."""
