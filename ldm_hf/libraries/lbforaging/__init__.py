"""Level-based foraging (Papoudakis et al. 2021): a team that gathers food."""
