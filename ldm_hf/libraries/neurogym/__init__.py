"""NeuroGym: tasks by which animals and people are tested, trial after trial (Molano-Mazon et al. 2022)."""
