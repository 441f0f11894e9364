"""RWARE (Papoudakis et al. 2021): a team of warehouse robots."""
