"""Serving: one model in a process, many clients, whose steps share a forward pass."""
