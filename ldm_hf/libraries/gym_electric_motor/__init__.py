"""gym-electric-motor (Traue et al. 2022): electric drives that follow a reference."""
