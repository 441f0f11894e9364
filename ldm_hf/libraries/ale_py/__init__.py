"""The Arcade Learning Environment (Bellemare et al. 2013): Atari 2600 games."""
