"""MiniGrid (Chevalier-Boisvert et al. 2023) and BabyAI (Chevalier-Boisvert et al. 2019): missions in grids of rooms."""
