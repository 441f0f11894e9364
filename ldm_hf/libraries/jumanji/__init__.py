"""Jumanji (Bonnet et al. 2024): combinatorial problems in JAX."""
