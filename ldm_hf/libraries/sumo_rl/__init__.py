"""SUMO-RL (Alegre 2019): traffic lights in the simulator SUMO (Lopez et al. 2018)."""
