"""POPGym (Morad et al. 2023): games whose observations hide a part of the state."""
