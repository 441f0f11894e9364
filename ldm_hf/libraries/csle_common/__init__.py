"""CSLE's games between the defender and the attacker of a network (Hammar & Stadler 2022 to 2024)."""
