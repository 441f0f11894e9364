"""Stokasta: inventory control with a fixed cost for each order."""
