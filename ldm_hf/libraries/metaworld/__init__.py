"""Meta-World (Yu et al. 2019, McLean et al. 2025): fifty tasks of one robot arm."""
