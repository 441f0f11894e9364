"""The intrusion detection game of gym-idsgame (Hammar & Stadler 2020), after Elderman et al. 2017."""
