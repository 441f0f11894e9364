"""MO-Gymnasium (Felten et al. 2023): environments with several objectives, whose sum is the reward here."""
